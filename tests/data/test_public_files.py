"""The public data files: read completely, recognized, and their known properties."""

import collections
import time

import pytest

from bench.data.known_files import compare
from bench.data.overlap import count_overlap, resolve_overlap
from bench.data.problems import DataSettings, ProblemSets
from bench.data.sources import load_problems
from bench.evaluation.answers import extract_choice, extract_letter
from bench.evaluation.scoring import majority
from bench.tasks.task import answer_kind
from tests.evaluation.test_evaluate import PROTOCOL

# Rows, and the majority class with its accuracy.
TESTS = {
    "mawps": (238, None),
    "SVAMP": (1000, None),
    "AQuA": (254, ("A", 24.8)),
    "boolq": (3270, ("true", 62.2)),
    "piqa": (1838, ("solution2", 50.5)),
    "social_i_qa": (1954, ("answer3", 33.6)),
    "openbookqa": (500, ("answer1", 27.6)),
}
MAWPS = "c1a708979cbf2b3d" + "0" * 48


@pytest.fixture(scope="module")
def load(shared_data):
    def read(*train, tests=tuple(TESTS), **options):
        root, gsm8k = shared_data / "llm_adapters", shared_data / "gsm8k" / "train.jsonl"
        settings = DataSettings(
            "llm_adapters", list(train), list(tests), root=str(root), gsm8k=str(gsm8k), **options
        )
        return load_problems(settings, trained=bool(train))

    return read


@pytest.fixture(scope="module")
def mixed(load):
    """LLM-Adapters' mixed training file, and all test files."""
    return load("math_data")


def test_the_test_files_are_complete_and_the_papers(mixed):
    sizes = {key: len(rows) for key, rows in mixed.tests.items()}
    assert sizes == {key: rows for key, (rows, _) in TESTS.items()}
    marks = compare(mixed.files)
    assert marks.pop("ft-training_set/math_data.json") == "not known"
    assert len(marks) == len(TESTS) and set(marks.values()) == {"the paper's file"}


@pytest.mark.parametrize(
    ("train", "rows"), [(["gsm8k", "mawps"], 7473 + 1898), (["openbookqa"], 4957)]
)
def test_training_files_are_complete(load, train, rows):
    loaded = load(*train, tests=["mawps"])
    assert len(loaded.train) + len(loaded.validation) == rows
    assert not any("<<" in p.output or "####" in p.output for p in loaded.train)


def test_nearly_all_equations_of_mawps_are_worked_out(load):
    loaded = load("mawps", tests=["mawps"], steps=True)
    solutions = [problem.output for problem in loaded.train + loaded.validation]
    assert sum(" = " in solution for solution in solutions) == 1898 - 39


def test_the_mixed_file_has_numbers_and_letters_and_three_empty_outputs(mixed):
    assert len(mixed.train + mixed.validation) == 3257 and mixed.without_output == 3
    kinds = collections.Counter(answer_kind(p.answer) for p in mixed.train)
    assert set(kinds) == {"number", "letter"}


def test_the_majority_classes(mixed):
    for key, (_, expected) in TESTS.items():
        found = majority(key, [p.answer for p in mixed.tests[key]], PROTOCOL)
        if expected:
            assert (found["answer"], round(found["accuracy"], 1)) == expected


def test_the_stored_outputs_name_the_gold_choice_but_only_half_of_the_gold_letters(mixed):
    for key in ("boolq", "piqa", "social_i_qa", "openbookqa"):
        assert all(extract_choice(p.output, key) == p.answer for p in mixed.tests[key])
    aqua = mixed.tests["AQuA"]
    assert all("Answer Choices: (A)" in p.instruction for p in aqua)
    assert sum(extract_letter(p.output, "released") == p.answer for p in aqua) == 123


def test_the_mixed_file_contains_most_of_the_math_test_rows(mixed):
    began = time.perf_counter()
    tests, _ = count_overlap(mixed.train + mixed.validation, mixed.tests)
    assert time.perf_counter() - began < 30
    near = {"mawps": 140, "SVAMP": 890, "AQuA": 203}
    assert {key: c["near"] for key, c in tests.items()} == dict.fromkeys(TESTS, 0) | near
    assert tests["SVAMP"] == {"rows": 1000, "exact": 800, "masked": 800, "near": 890}
    assert tests["mawps"]["masked"] > tests["mawps"]["exact"] > 0
    sets = ProblemSets(mixed.train, mixed.validation, {"SVAMP": mixed.tests["SVAMP"]})
    assert len(resolve_overlap(sets, keep=False)[0].train) < len(mixed.train) - 700


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("dataset/mawps/test.json", "the paper's file"),
        ("dataset/MAWPS/test.json", "the paper's file"),
        ("dataset/SVAMP/test.json", "another file"),
        ("ft-training_set/math_10k.json", "not known"),
        ("dataset/hellaswag/test.json", "not known"),
        ("train.jsonl", "not known"),
    ],
)
def test_a_file_is_recognized_by_its_name_ignoring_case_and_its_hash(name, state):
    assert compare({name: MAWPS}) == {name: state}
