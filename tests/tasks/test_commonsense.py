"""The eight commonsense sets: their files, their answers, and the table that they make."""

import json

import pytest

from bench import tasks
from bench.data.problems import DataSettings
from bench.data.prompts import Protocol
from bench.data.sources import load_problems
from bench.evaluation.answers import extract_choice
from bench.evaluation.scoring import majority

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


def test_the_table_is_made_from_files_in_the_layout_and_set_beside_the_paper(inline, tmp_path):
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


def test_the_public_files_are_read_whole(shared_data):
    names = ["boolq", "piqa", "social_i_qa", "openbookqa"]
    root = str(shared_data / "llm_adapters")
    loaded = load_problems(DataSettings("llm_adapters", ["openbookqa"], names, root=root), True)
    assert {key: len(found) for key, found in loaded.tests.items()} == {
        "boolq": 3270,
        "piqa": 1838,
        "social_i_qa": 1954,
        "openbookqa": 500,
    }
    assert len(loaded.train) + len(loaded.validation) == 4957
    digests = {key: loaded.files[f"dataset/{key}/test.json"][:16] for key in names}
    assert digests == {
        "boolq": "89df2397cbca81dc",
        "piqa": "3860d11b9b42e590",
        "social_i_qa": "71543f4112745194",
        "openbookqa": "8479930f7b8a2605",
    }


def test_the_majority_classes_of_the_public_files(shared_data):
    names = ["boolq", "piqa", "social_i_qa", "openbookqa", "AQuA"]
    root = str(shared_data / "llm_adapters")
    loaded = load_problems(DataSettings("llm_adapters", [], names, root=root), trained=False)
    protocol = Protocol("p", "{instruction}", "{instruction}", "{output}", None, 1, 0.001, "")
    found = {k: majority(k, [p.answer for p in v], protocol) for k, v in loaded.tests.items()}
    assert {k: (v["answer"], round(v["accuracy"], 1)) for k, v in found.items()} == {
        "boolq": ("true", 62.2),
        "piqa": ("solution2", 50.5),
        "social_i_qa": ("answer3", 33.6),
        "openbookqa": ("answer1", 27.6),
        "AQuA": ("A", 24.8),
    }


def test_the_stored_outputs_of_the_public_files_name_their_gold_answers(shared_data):
    names = ["boolq", "piqa", "social_i_qa", "openbookqa"]
    root = str(shared_data / "llm_adapters")
    loaded = load_problems(DataSettings("llm_adapters", [], names, root=root), trained=False)
    for key, problems in loaded.tests.items():
        assert all(extract_choice(p.output, key) == p.answer for p in problems)
