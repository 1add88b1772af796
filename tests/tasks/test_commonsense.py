"""The eight commonsense sets: their answers, and the table."""

import json

import pytest

from bench import tasks
from bench.evaluation.answers import extract_choice

SETS = {
    "boolq": ("true", "false"),
    "piqa": ("solution1", "solution2"),
    "social_i_qa": ("answer1", "answer2", "answer3"),
    "hellaswag": ("ending1", "ending2", "ending3", "ending4"),
    "winogrande": ("option1", "option2"),
    "ARC-Easy": ("answer1", "answer2", "answer3", "answer4"),
    "ARC-Challenge": ("answer1", "answer2", "answer3", "answer4"),
    "openbookqa": ("answer1", "answer2", "answer3", "answer4"),
}


@pytest.mark.parametrize(("key", "choices"), SETS.items())
def test_a_set_has_its_chance_level_and_its_choices(key, choices):
    task = tasks.find(key)
    assert task.key == key and task.answer == "choice"
    assert task.chance == pytest.approx(100 / len(choices))
    assert all(map(task.accepts, choices))
    assert [extract_choice(f"it is {choice}", key) for choice in choices] == list(choices)


def rows(key, answers):
    return [
        {
            "instruction": f"{key}: which one, number {i}?",
            "input": "",
            "output": f"the correct answer is {answer}",
            "answer": answer,
        }
        for i, answer in enumerate(answers)
    ]


def test_the_table_is_made_from_files_in_the_layout_and_compared_with_the_paper(
    inline, tmp_path, sketched
):
    folder = tmp_path / "data"
    train = [row for key, choices in SETS.items() for row in rows(f"train {key}", choices)]
    (folder / "ft-training_set").mkdir(parents=True)
    (folder / "ft-training_set" / "commonsense_170k.json").write_text(json.dumps(train))
    for key, choices in SETS.items():
        (folder / "dataset" / key).mkdir(parents=True)
        (folder / "dataset" / key / "test.json").write_text(json.dumps(rows(key, choices)))
    result = inline(
        "+sweep=commonsense",
        f"data.root={folder}",
        "data.validation=4",
        "train.epochs=1",
        "protocol.choice_max_new_tokens=2",
        "method=lora",
        "seed=0",
        "hydra/launcher=basic",
        "model.published=LLaMA3-8B",
    )
    assert result.code == 0, result.stderr
    text = (tmp_path / "results" / "tables" / "commonsense.md").read_text()
    head = next(line for line in text.splitlines() if line.startswith("| Method"))
    for label in ("BoolQ (chance 50)", "SIQA (chance 33)", "ARC-c (chance 25)", "OBQA (chance 25)"):
        assert label in head
    majority_row = next(line for line in text.splitlines() if line.startswith("| majority class"))
    assert majority_row.startswith("| majority class | 50.0 | 50.0 | 33.3 | 25.0 |")
    assert "AVG (macro)" in text and "80.8" in text
    (record,) = (tmp_path / "results" / "runs").glob("*/record.json")
    found = json.loads(record.read_text())["scores"]
    assert {score["rule"] for score in found.values()} == {"choice first/1"}
