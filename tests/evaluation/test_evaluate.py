import dataclasses
import json

import pytest

from bench.data.problems import Problem
from bench.data.prompts import Protocol
from bench.errors import Failure
from bench.evaluation.evaluate import evaluate, judge
from bench.evaluation.predictions import Prediction, append, read
from bench.evaluation.scoring import averages, majority, nll_averages, scores

PROTOCOL = Protocol(
    name="fast",
    train_prompt="{instruction}",
    evaluation_prompt="{instruction}",
    target="{output}",
    max_length=None,
    max_new_tokens=8,
    tolerance=0.001,
    answer_form="The answer is",
)
SETS = {
    "mawps": [
        Problem("mawps", f"What is {i} plus 1?", "", f"{i}+1={i + 1}", str(i + 1)) for i in range(5)
    ],
    "SVAMP": [Problem("SVAMP", "How many? " * 60, "", "", "7")],
    "boolq": [Problem("boolq", "True or false?", "Ice is warm.", "", "false")],
}


def run(tiny, path, sets=SETS, protocol=PROTOCOL, batching="static"):
    return evaluate(*tiny, sets, protocol, 2, context=100, path=path, batching=batching)


@pytest.fixture(scope="module")
def evaluated(tiny, tmp_path_factory):
    """The predictions for SETS, and the text of their file."""
    path = tmp_path_factory.mktemp("evaluated") / "predictions.jsonl"
    return run(tiny, path), path.read_text()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.jsonl"


def test_every_row_has_a_line_with_its_question(evaluated):
    lines = {(p["task"], p["index"]): p for p in map(json.loads, evaluated[1].splitlines())}
    assert len(lines) == len(evaluated[0]) == 7
    assert lines["mawps", 2]["question"] == "What is 2 plus 1?"
    assert lines["boolq", 0]["question"] == "True or false?\nIce is warm."
    too_long = lines["SVAMP", 0]
    assert too_long["question"] == "How many? " * 60 and too_long["correct"] is False
    assert "the context leaves room for 92" in too_long["reason"]


def test_existing_lines_are_kept_and_not_generated_again(tiny, path, evaluated):
    first, text = evaluated
    kept = text.splitlines()[:3]
    path.write_text("\n".join(kept) + "\n" + '{"task": "mawps", "ind')
    again = run(tiny, path, batching="continuous")
    assert path.read_text().splitlines()[:3] == kept
    key = lambda p: (p.task, p.index)  # noqa: E731
    assert sorted(again, key=key) == sorted(first, key=key)
    assert [p.nll for p in sorted(again, key=key)] == [p.nll for p in sorted(first, key=key)]


@pytest.mark.parametrize("index", [0, 5, -1])
def test_repeated_lines_and_those_of_other_rows_are_refused(path, evaluated, index):
    text = evaluated[1]
    path.write_text(text + text.splitlines()[0].replace('"index": 0', f'"index": {index}') + "\n")
    with pytest.raises(Failure, match="repeated lines, or lines for rows that are not in"):
        run((None, None), path)


@pytest.mark.parametrize(
    "content", [b'{"task": "mawps", "index": 0, "te', b"\xff\xfe\n[1]\n", b"[" * 100_000 + b"\n"]
)
def test_an_incomplete_or_broken_line_is_dropped(path, content):
    made = judge("AQuA", 0, Problem("AQuA", "", "", "", "B"), "The answer is (B).", 4, PROTOCOL)
    append(path, [made])
    with path.open("ab") as stream:
        stream.write(content)
    assert read(path) == [made] and made.formatted
    assert len(path.read_bytes().splitlines()) == 1


def test_scores_count_prompts_too_long_as_wrong_and_include_the_majority_class(evaluated):
    by_set = scores(evaluated[0], SETS, PROTOCOL)
    assert by_set["SVAMP"] == by_set["SVAMP"] | {"n": 1, "too_long": 1, "accuracy": 0.0}
    assert by_set["mawps"]["majority"] == {"answer": "1", "accuracy": 20.0}


def test_the_likelihood_is_averaged_over_the_rows_with_a_reference_output(evaluated):
    found = [p.nll for p in evaluated[0] if p.task == "mawps"]
    assert all(nll > 0 for nll in found)
    by_set = scores(evaluated[0], SETS, PROTOCOL)
    mean = pytest.approx(sum(found) / 5)
    assert [score["nll"] for score in by_set.values()] == [mean, None, None]
    assert nll_averages(evaluated[0], by_set) == {"micro": mean, "macro": mean}


def test_micro_weighs_by_rows_and_macro_does_not():
    rows = [("a", 2, True, 3.0), ("a", 0, True, 1.0), ("a", 3, False, None), ("a", 1, True, 2.0)]
    made = [
        Prediction(key, i, "", None, "1", right, True, 1, nll=nll)
        for key, i, right, nll in (*rows, ("b", 0, False, 6.0))
    ]
    by_set = scores(made, ["a", "b"], PROTOCOL)
    assert by_set["a"]["outcomes"] == "1110"  # in the order of the test set
    assert averages(by_set) == {"micro": 60.0, "macro": 37.5}
    assert nll_averages(made, by_set) == {"micro": 3.0, "macro": 4.0}


@pytest.mark.parametrize(
    ("key", "answer", "rule"), [("mawps", "1", "number/1"), ("AQuA", "B", "letter paper/1")]
)
def test_scores_name_the_rule_with_its_version(key, answer, rule):
    protocol = dataclasses.replace(PROTOCOL, letter_rule="paper")
    made = judge(key, 0, Problem(key, "", "", "", answer), "", 1, protocol)
    assert scores([made], [key], protocol)[key]["rule"] == rule


@pytest.mark.parametrize(
    ("key", "answers", "answer", "accuracy"),
    [
        ("boolq", ["false", "true", "true", "false", "true"], "true", 60.0),
        ("AQuA", ["C", "B", "B", "C"], "C", 50.0),  # the first of equals
        ("mawps", ["1", "2.0", "2", "3"], "2.0", 50.0),
        ("mawps", ["1,000", "7", "1000.0", "1000.0005"], "1,000", 75.0),  # within the tolerance
        ("of_choices", ["answer1", "answer3", "answer3"], "answer3", 100 * 2 / 3),
        ("mixed", ["2", "B", "B", "2.0", "B"], "B", 60.0),
    ],
)
def test_the_majority_class_is_the_most_frequent_answer(key, answers, answer, accuracy):
    found = majority(key, answers, PROTOCOL)
    assert found == {"answer": answer, "accuracy": pytest.approx(accuracy)}


LETTERS, CHOICES = "(A) is too small. The answer is (C).", "The correct answer is: True. Not false."


@pytest.mark.parametrize(
    ("key", "answer", "text", "rules", "prediction", "correct"),
    [
        ("AQuA", "C", LETTERS, {}, "C", True),
        ("AQuA", "C", LETTERS, {"letter_rule": "first"}, "A", False),
        ("AQuA", "C", "No idea", {}, None, False),
        ("AQuA", "B", "The answer is b.", {}, "b", False),  # as in the published code
        ("boolq", "true", CHOICES, {}, "false", False),
        ("boolq", "true", CHOICES, {"choice_rule": "lower"}, "true", True),
        ("mawps", "8", "so 8.0009", {}, 8.0009, True),
        ("mawps", "8", "so 8.0011", {}, 8.0011, False),
        ("mawps", "1.8333333333333335", "1.833", {}, 1.833, True),
        ("mawps", "1,200", "1200.0", {}, 1200.0, True),
        ("mawps", "9" * 300, "1", {}, 1.0, False),
        ("mawps", "0", "none", {}, None, False),
        # Sets without a module: their kind is that of the gold answer.
        ("of_letters", "D", "(D) is 12", {}, "D", True),
        ("of_numbers", "12.0", "(D) is 12", {}, 12.0, True),
        ("of_choices", "solution1", "answer1, or solution1", {}, "solution1", True),
    ],
)
def test_an_answer_is_read_by_the_protocols_rule(key, answer, text, rules, prediction, correct):
    protocol = dataclasses.replace(PROTOCOL, **rules)
    made = judge(key, 0, Problem(key, "", "", "", answer), text, 1, protocol)
    assert (made.prediction, made.correct) == (prediction, correct)
    assert made.formatted == ("answer is" in text)


def test_the_protocol_sets_the_number_of_beams(tiny, path, evaluated):
    greedy = [p.text for p in evaluated[0] if p.task == "mawps"]
    four = dataclasses.replace(PROTOCOL, num_beams=4)
    beams = run(tiny, path, {"mawps": SETS["mawps"]}, four)
    assert sorted(p.text for p in beams) != sorted(greedy)
