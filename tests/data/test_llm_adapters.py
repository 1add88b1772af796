import collections
import json

import pytest

from bench import tasks
from bench.data.problems import DataSettings
from bench.data.sources import load_problems
from bench.errors import InputError
from bench.evaluation.answers import extract_letter


def row(i, answer=None):
    return {
        "instruction": f"What is {i} plus 1?",
        "input": "",
        "output": f"{i}+1={i + 1}. The answer is {i + 1}.",
        "answer": str(i + 1.0) if answer is None else answer,
    }


class Layout:
    """A folder in LLM-Adapters' layout that a test fills."""

    def __init__(self, path):
        self.path = path
        self.write("dataset/SVAMP/test.json", [row(i) for i in range(5)])

    def write(self, name, rows):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
        return path

    def load(self, train=("math",), tests=("SVAMP",), validation=2, **options):
        settings = DataSettings(
            "llm_adapters",
            list(train),
            list(tests),
            root=str(self.path),
            validation=validation,
            **options,
        )
        return load_problems(settings, trained=bool(train))


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


@pytest.mark.parametrize(
    "places",
    [
        ("ft-training_set/math.json", "dataset/math/train.json", "dataset/math/trainset.json"),
        ("dataset/math/train.json", "dataset/math/trainset.json"),
        ("dataset/math/trainset.json",),
    ],
)
def test_a_training_set_is_taken_from_the_first_place_that_has_it(layout, places):
    for position, place in enumerate(places):
        layout.write(place, [row(100 * position + i) for i in range(4)])
    loaded = layout.load()
    assert {p.instruction for p in loaded.train + loaded.validation} == {
        row(i)["instruction"] for i in range(4)
    }
    assert places[0] in loaded.files


def test_names_match_whatever_their_case(layout):
    layout.write("ft-training_set/Math.json", [row(i) for i in range(4)])
    assert list(layout.load(tests=("svamp",)).tests) == ["SVAMP"]


def test_a_set_without_a_file_of_its_own_is_a_benchmark_if_its_answers_are_numbers(layout):
    layout.write("dataset/MultiArith/test.json", [row(1), row(2)])
    assert len(layout.load(train=(), tests=("multiarith",)).tests["MultiArith"]) == 2


def test_a_set_without_a_file_of_its_own_is_a_benchmark_if_its_answers_are_letters(layout):
    layout.write("dataset/mathqa/test.json", [row(1, "A"), row(2, "E")])
    assert len(layout.load(train=(), tests=("mathqa",)).tests["mathqa"]) == 2


def test_a_set_without_a_file_of_its_own_is_a_benchmark_if_its_answers_are_choices(layout):
    layout.write("dataset/csqa/test.json", [row(1, "answer1"), row(2, "answer5")])
    assert len(layout.load(train=(), tests=("csqa",)).tests["csqa"]) == 2


def test_rows_with_an_empty_output_are_left_out_and_told(layout, caplog):
    layout.write("ft-training_set/math.json", [{**row(0), "output": " "}, *map(row, range(1, 5))])
    loaded = layout.load()
    assert len(loaded.train + loaded.validation) == 4
    assert "math.json: rows with an empty output left out: 1" in caplog.text
    assert loaded.without_output == 1


def test_gsm8k_rows_lose_their_marks_and_end_in_the_sentence(layout):
    raw = {"question": "How many?", "answer": "48/2 = <<48/2=24>>24 clips.\nDone.\n#### 1,024"}
    path = layout.write("train.jsonl", "\n".join([json.dumps(raw)] * 3))
    (problem,) = layout.load(train=("gsm8k",), gsm8k=str(path)).train
    assert problem.output == "48/2 = 24 clips.\nDone.\nThe answer is 1,024."
    assert problem.answer == "1024"


def test_mawps_equation_stands_before_the_sentence(layout):
    raw = {"original_text": "How many?", "equation": "X=((22.0-14.0)/4.0)", "ans": 2.0}
    layout.write("dataset/mawps/trainset.json", [raw] * 3)
    (problem,) = layout.load(train=("mawps",)).train
    assert problem.output == "X=((22.0-14.0)/4.0)\nThe answer is 2."


def test_validation_rows_are_taken_out_of_the_training_rows(layout):
    layout.write("ft-training_set/math.json", [row(i) for i in range(20)])
    loaded = layout.load(validation=5)
    assert len(loaded.validation) == 5 and len(loaded.train) == 15
    assert not set(loaded.train) & set(loaded.validation)


def test_limit_takes_so_many_rows_of_each_set(layout):
    layout.write("ft-training_set/math.json", [row(i) for i in range(20)])
    loaded = layout.load(limit=4)
    assert len(loaded.train) + len(loaded.validation) == 4 and len(loaded.tests["SVAMP"]) == 4


def test_without_training_no_training_file_is_needed(layout):
    assert layout.load(train=()).train == []


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("ft-training_set/math.json", "not json", "math.json is not JSON"),
        ("ft-training_set/math.json", [], "has no rows"),
        ("ft-training_set/math.json", {"a": 1}, "must hold a list"),
        ("ft-training_set/math.json", [row(0), 3], "row 1: not a JSON object"),
        ("ft-training_set/math.json", [row(0), {"output": "1"}], "row 1: lacks instruction"),
        ("ft-training_set/math.json", [{**row(0), "output": None}], "row 0: lacks output"),
        ("ft-training_set/math.json", [{**row(0), "output": ""}], "output of every row is empty"),
        ("dataset/SVAMP/test.json", [], "has no rows"),
        ("dataset/SVAMP/test.json", [row(0, "B")], "row 0: the answer 'B' is not a number"),
        ("dataset/AQuA/test.json", [row(0, "B"), row(1)], "AQuA.*row 1: the answer '2.0' is not a"),
        ("dataset/AQuA/test.json", [row(0, "F")], "'F' is not a letter A to E; the answers of AQu"),
        ("dataset/new/test.json", [row(0), row(1, "B")], "row 1: the answer 'B' is not a number"),
        ("dataset/new/test.json", [row(0, "yes")], "row 0: the answer 'yes' is not a number, a "),
        ("dataset/new/test.json", [row(0, "true"), row(1, "answer1")], "row 1.*one of true, false"),
        ("dataset/piqa/test.json", [row(0, "answer1")], "one of solution1, solution2; .* of piqa"),
        ("dataset/social_i_qa/test.json", [row(0, "answer4")], "'answer4' is not one of answer1"),
    ],
)
def test_a_bad_file_is_named_with_its_row(layout, name, rows, message):
    layout.write("ft-training_set/math.json", [row(i) for i in range(4)])
    layout.write(name, rows)
    with pytest.raises(InputError, match=message):
        layout.load(tests=(name.split("/")[1] if name.startswith("dataset") else "SVAMP",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": ["nope"]}, "no training set 'nope'. Sought: .*ft-training_set/nope.json"),
        ({"tests": ["SVAM"]}, "Did you mean SVAMP"),
        ({"tests": []}, "data.tests is empty"),
        ({"validation": 4}, "leaves no rows"),
        ({"limit": 0}, "data.limit must be at least 1"),
        ({"train": ["gsm8k"]}, "data.gsm8k=PATH"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_type(layout, options, message):
    layout.write("ft-training_set/math.json", [row(i) for i in range(4)])
    with pytest.raises(InputError, match=message):
        layout.load(**options)


def test_a_method_that_is_trained_needs_training_rows(layout):
    settings = DataSettings("llm_adapters", [], ["SVAMP"], root=str(layout.path))
    with pytest.raises(InputError, match=r"data\.train is empty"):
        load_problems(settings, trained=True)


def test_a_missing_root_says_what_to_type():
    with pytest.raises(InputError, match=r"data\.root=PATH"):
        load_problems(DataSettings("llm_adapters", ["x"], ["SVAMP"]), trained=True)


def test_the_public_files_are_read_whole(shared_data):
    settings = DataSettings(
        "llm_adapters",
        ["gsm8k", "mawps"],
        ["mawps", "SVAMP"],
        root=str(shared_data / "llm_adapters"),
        gsm8k=str(shared_data / "gsm8k" / "train.jsonl"),
    )
    loaded = load_problems(settings, trained=True)
    assert len(loaded.train) + len(loaded.validation) == 7473 + 1898
    assert {key: len(rows) for key, rows in loaded.tests.items()} == {"mawps": 238, "SVAMP": 1000}
    assert loaded.files["dataset/mawps/test.json"].startswith("c1a708979cbf2b3d")
    assert not any("<<" in p.output or "####" in p.output for p in loaded.train)


def test_the_public_letters_and_the_mixed_training_file_are_read_whole(shared_data):
    settings = DataSettings(
        "llm_adapters", ["math_data"], ["AQuA"], root=str(shared_data / "llm_adapters")
    )
    loaded = load_problems(settings, trained=True)
    rows = loaded.tests["AQuA"]
    assert len(rows) == 254 and {p.answer for p in rows} == set("ABCDE")
    assert all("Answer Choices: (A)" in p.instruction for p in rows)
    assert loaded.files["dataset/AQuA/test.json"].startswith("de677f5f01393400")
    # Three of the 3,260 public rows have an empty output.
    assert len(loaded.train + loaded.validation) == 3257
    kinds = collections.Counter(tasks.answer_kind(p.answer) for p in loaded.train)
    assert set(kinds) == {"number", "letter"}


def test_the_rationales_of_the_public_letters_name_the_gold_letter_in_half_the_rows(shared_data):
    settings = DataSettings("llm_adapters", [], ["AQuA"], root=str(shared_data / "llm_adapters"))
    rows = load_problems(settings, trained=False).tests["AQuA"]
    assert sum(extract_letter(p.output, "released") == p.answer for p in rows) == 123
