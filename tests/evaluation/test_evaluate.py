import dataclasses
import json

import pytest

from bench.data.problems import Problem
from bench.data.prompts import Protocol
from bench.errors import InputError
from bench.evaluation.evaluate import evaluate, judge
from bench.evaluation.predictions import Prediction, append, read
from bench.evaluation.scoring import averages, majority, scores

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
    "mawps": [Problem("mawps", f"What is {i} plus 1?", "", "", str(i + 1)) for i in range(5)],
    "SVAMP": [Problem("SVAMP", "How many? " * 60, "", "", "7")],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.jsonl"


def run(tiny, path, sets=SETS, **options):
    return evaluate(*tiny, sets, PROTOCOL, 2, context=100, path=path, **options)


def test_every_row_has_one_line_and_a_prompt_too_long_says_why(tiny, path):
    run(tiny, path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((line["task"], line["index"]) for line in lines) == [
        ("SVAMP", 0),
        *(("mawps", i) for i in range(5)),
    ]
    (long,) = [line for line in lines if line["task"] == "SVAMP"]
    assert long["correct"] is False and "the context leaves room for 92" in long["reason"]


def test_a_line_says_what_was_asked_also_where_the_model_was_not(tiny, path):
    with_input = {"boolq": [Problem("boolq", "True or false?", "Ice is warm.", "", "false")]}
    run(tiny, path, SETS | with_input)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    asked = {(line["task"], line["index"]): line["question"] for line in lines}
    assert asked["mawps", 2] == "What is 2 plus 1?"
    assert asked["SVAMP", 0] == "How many? " * 60
    assert asked["boolq", 0] == "True or false?\nIce is warm."


def test_lines_of_a_version_that_wrote_no_question_are_read(tiny, path):
    run(tiny, path)
    old = [json.loads(line) for line in path.read_text().splitlines()]
    for line in old:
        del line["question"]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    assert [p.question for p in run(tiny, path)] == [""] * 6


def test_lines_that_are_there_are_kept_and_not_asked_again(tiny, path):
    first = run(tiny, path)
    kept = path.read_text().splitlines()[:3]
    path.write_text("\n".join(kept) + "\n" + '{"task": "mawps", "ind')
    again = run(tiny, path)
    assert path.read_text().splitlines()[:3] == kept
    key = lambda p: (p.task, p.index)  # noqa: E731
    assert sorted(again, key=key) == sorted(first, key=key)


def test_a_line_that_a_kill_cut_short_is_dropped(path):
    path.write_text('{"task": "mawps", "index": 0, "te')
    assert read(path) == [] and path.read_text() == ""


def test_scores_count_what_was_too_long_as_wrong(tiny, path):
    by_set = scores(run(tiny, path), SETS, PROTOCOL)
    assert by_set["SVAMP"] == by_set["SVAMP"] | {"n": 1, "too_long": 1, "accuracy": 0.0}


def test_scores_name_the_rule_and_its_version():
    protocol = dataclasses.replace(PROTOCOL, letter_rule="paper")
    made = [
        judge(key, 0, Problem(key, "", "", "", answer), "", 1, protocol)
        for key, answer in (("mawps", "1"), ("AQuA", "B"))
    ]
    by_set = scores(made, ["mawps", "AQuA"], protocol)
    assert {key: score["rule"] for key, score in by_set.items()} == {
        "mawps": "number/1",
        "AQuA": "letter paper/1",
    }


def test_micro_weighs_by_rows_and_macro_does_not():
    by_set = {
        "a": {"n": 30, "correct": 30, "accuracy": 100.0},
        "b": {"n": 10, "correct": 0, "accuracy": 0.0},
    }
    assert averages(by_set) == {"micro": 75.0, "macro": 50.0}


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
def test_the_majority_class_is_what_always_the_same_answer_scores(key, answers, answer, accuracy):
    found = majority(key, answers, PROTOCOL)
    assert found == {"answer": answer, "accuracy": pytest.approx(accuracy)}


def test_the_majority_class_of_a_set_stands_with_its_score(tiny, path):
    by_set = scores(run(tiny, path), SETS, PROTOCOL)
    assert by_set["mawps"]["majority"] == {"answer": "1", "accuracy": 20.0}
    assert by_set["SVAMP"]["majority"] == {"answer": "7", "accuracy": 100.0}


def test_outcomes_stand_in_the_order_of_the_test_set():
    right = {0: True, 1: False, 2: True}
    made = [Prediction("mawps", i, "", None, "1", right[i], True, 1) for i in (2, 0, 1)]
    assert scores(made, ["mawps"], PROTOCOL)["mawps"]["outcomes"] == "101"


def judged(key, answer, text, rule="released"):
    protocol = dataclasses.replace(PROTOCOL, letter_rule=rule)
    prediction = judge(key, 0, Problem(key, "", "", "", answer), text, 1, protocol)
    return prediction.prediction, prediction.correct


def test_a_letter_is_read_by_the_protocols_rule():
    text = "(A) is too small. The answer is (C)."
    assert judged("AQuA", "C", text) == ("C", True)
    assert judged("AQuA", "C", text, rule="first") == ("A", False)
    assert judged("AQuA", "C", "No idea") == (None, False)


def test_a_lower_case_letter_is_wrong_as_in_the_published_code():
    assert judged("AQuA", "B", "The answer is b.") == ("b", False)


def test_a_set_without_a_file_is_read_as_its_gold_answers_are():
    text = "(D) is 12"
    assert judged("of_letters", "D", text) == ("D", True)
    assert judged("of_numbers", "12.0", text) == (12.0, True)


def test_a_choice_is_read_by_the_protocols_rule():
    text = "The correct answer is: True. Not false."
    made = judge("boolq", 0, Problem("boolq", "", "", "", "true"), text, 1, PROTOCOL)
    assert (made.prediction, made.correct, made.formatted) == ("false", False, True)
    lower = dataclasses.replace(PROTOCOL, choice_rule="lower")
    made = judge("boolq", 0, Problem("boolq", "", "", "", "true"), text, 1, lower)
    assert (made.prediction, made.correct) == ("true", True)


def test_the_choices_of_a_set_without_a_file_are_those_of_its_gold_answers():
    assert judged("of_choices", "solution1", "answer1, or solution1") == ("solution1", True)


def test_a_letter_comes_back_from_the_file(path):
    problem = Problem("AQuA", "", "", "", "B")
    made = judge("AQuA", 0, problem, "The answer is (B).", 4, PROTOCOL)
    append(path, [made])
    assert read(path) == [made] and made.formatted


def test_a_rule_that_is_not_known_is_refused():
    with pytest.raises(InputError, match=r"protocol\.choice_rule 'lowr'. Did you mean lower"):
        dataclasses.replace(PROTOCOL, choice_rule="lowr")
    with pytest.raises(InputError, match=r"protocol\.letter_rule 'frist'. Did you mean first"):
        dataclasses.replace(PROTOCOL, letter_rule="frist")


def test_the_protocol_says_how_many_beams_search(tiny, path):
    sets = {"mawps": SETS["mawps"]}
    greedy = {p.index: p.text for p in run(tiny, path, sets)}
    four = dataclasses.replace(PROTOCOL, num_beams=4)
    other = path.with_name("four.jsonl")
    beams = evaluate(*tiny, sets, four, 2, context=100, path=other)
    assert {p.index: p.text for p in beams} != greedy
