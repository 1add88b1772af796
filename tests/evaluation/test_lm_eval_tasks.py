"""Task files for lm-eval have the scores of our own evaluation."""

import dataclasses
import importlib.util
import json
import re

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.config import EvaluationSettings
from bench.data.problems import Problem
from bench.data.prompts import CHOICE_RULES, LETTER_RULES
from bench.data.sources import load_problems
from bench.errors import InputError
from bench.evaluation.answers import extract_letter, extract_number, first_choice
from bench.evaluation.evaluate import judge
from bench.evaluation.lm_eval_bridge import check_tasks, evaluate_tasks, load_tasks
from bench.evaluation.lm_eval_tasks import (
    NUMBER,
    SPELLING,
    choice_regex,
    letter_regex,
    plain_number,
    write_tasks,
)
from bench.experiment import run
from tests.evaluation.test_evaluate import PROTOCOL

needs_lm_eval = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="the extra [lm-eval] is not installed"
)


def found(pattern, text):
    """The result of lm-eval's regex filter: the first non-empty group of the last match."""
    matches = re.findall(pattern, text)
    if not matches:
        return None
    match = matches[-1]
    return next(filter(None, match)) if isinstance(match, tuple) else match


def spelled(number):
    for part in SPELLING:
        number = re.sub(part, "", number)
    return number


digits = st.text("0123456789,.- a\n", max_size=12)
PIECES = ["answer is ", "The correct answer is ", "\\boxed{", "\\text{", "}", "option ", "Option ("]
letters = st.lists(st.sampled_from([*"ABCDEFab(). :\n", *PIECES]), max_size=9).map("".join)
WORDS = ("true", "false")
choices = st.lists(st.sampled_from([*WORDS, "True", "FALSE", "un", "tru", "\n", "."])).map("".join)
spellings = st.from_regex(r"\A-?0{0,2}[0-9]{1,3}(,[0-9]{3})?(\.[0-9]{0,4}0{0,3})?\Z").filter(
    lambda text: "\n" not in text and text.isascii()
)


@given(digits)
def test_numbers_are_read_as_by_our_rule(text):
    ours, theirs = extract_number(text), found(NUMBER, text)
    assert (ours is None) == (theirs is None)
    assert ours is None or float(spelled(theirs)) == ours


@settings(max_examples=40)
@given(spellings, spellings)
def test_numbers_are_compared_in_any_spelling(text, answer):
    for gold in (answer, f"{extract_number(text)}"):
        same = spelled(found(NUMBER, f"so {text}.")) == plain_number(gold.rstrip("."))
        assert same == (extract_number(text) == extract_number(gold))


@pytest.mark.parametrize(
    ("answer", "plain"), [("1,008.50", "1008.5"), ("8.0", "8"), ("-0.0", "0"), ("1e3", "1000")]
)
def test_a_gold_answer_is_spelled_plainly(answer, plain):
    assert plain_number(answer) == plain


@pytest.mark.parametrize("rule", LETTER_RULES)
@example(text="answer is answer is A")
@given(text=letters)
def test_a_letter_is_read_exactly_by_the_rule(rule, text):
    assert found(letter_regex(rule), text) == extract_letter(text, rule)


@pytest.mark.parametrize("rule", CHOICE_RULES)
@given(text=choices)
def test_a_choice_is_read_exactly_by_the_rule(rule, text):
    theirs = found(choice_regex(WORDS, rule), text)
    assert (theirs.lower() if theirs and rule == "lower" else theirs) == first_choice(
        text, WORDS, rule
    )


def protocol(**other):
    own = {"name": "own", "evaluation_prompt": "Ask: {instruction}\n\n", "max_new_tokens": 9}
    return dataclasses.replace(PROTOCOL, **own | other)


def test_the_files_follow_the_protocol(tmp_path):
    problems = [Problem("SVAMP", "How {{many}}?", "", "", a) for a in ("0.5", "1,000.0")]
    assert write_tasks({"SVAMP": problems}, protocol(), tmp_path) == ["hyplora_own_SVAMP"]
    text = (tmp_path / "hyplora_own_SVAMP.yaml").read_text()
    assert "NOT EXACT" in text and "within 0.001" in text and "1 of the 2 answers are not" in text
    settings = yaml.safe_load(text)
    assert settings["generation_kwargs"] == {"until": [], "do_sample": False, "max_gen_toks": 9}
    rows = (tmp_path / "hyplora_own_SVAMP.jsonl").read_text().splitlines()
    first = {"index": 0, "prompt": "Ask: How {{many}}?\n\n", "answer": "0.5"}
    assert json.loads(rows[0]) == first
    assert json.loads(rows[1])["answer"] == "1000"


@pytest.mark.parametrize(("rule", "ignored"), [("first", None), ("lower", True)])
def test_a_set_of_choices_has_its_words_and_its_rule(tmp_path, rule, ignored):
    problems = [Problem("social_i_qa", "Why?", "", "", "answer2")]
    own = protocol(choice_rule=rule, choice_max_new_tokens=4)
    (name,) = write_tasks({"social_i_qa": problems}, own, tmp_path)
    text = (tmp_path / f"{name}.yaml").read_text()
    assert yaml.safe_load(text)["generation_kwargs"]["max_gen_toks"] == 4
    assert f"protocol.choice_rule={rule}" in text and "answer1|answer2|answer3" in text
    (metric,) = yaml.safe_load(text)["metric_list"]
    assert metric.get("ignore_case") is ignored
    assert json.loads((tmp_path / f"{name}.jsonl").read_text())["answer"] == "answer2"


@pytest.mark.parametrize(
    ("text", "answer", "ours", "theirs"),
    [
        ("so 1,008.0", "1008", True, True),
        ("so 0.333", "0.3333", True, False),  # the tolerance, which no filter can say
        ("so 7.9999", "8", True, False),
        ("so 0.33", "0.3333", False, False),
        ("so nothing", "8", False, False),
    ],
)
def test_only_the_tolerance_is_lost(text, answer, ours, theirs):
    verdict = judge("SVAMP", 0, Problem("SVAMP", "", "", "", answer), text, 1, protocol())
    number = found(NUMBER, text)
    same = number is not None and spelled(number) == plain_number(answer)
    assert (verdict.correct, same) == (ours, theirs)


def test_without_the_extra_an_error_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "lm_eval" else find(name)
    )
    with pytest.raises(InputError, match=r"pip install -c constraints.txt -e '\.\[lm-eval\]'"):
        check_tasks(EvaluationSettings(8, lm_eval=["arc_easy"]))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


@needs_lm_eval
def test_lm_eval_scores_a_trained_adapter_as_our_own_evaluation_does(compose, tmp_path, cache):
    overrides = (
        "method=lora",
        "data.train=[mawps,AQuA]",
        "data.tests=[mawps,AQuA]",
        "data.train_size=96",
        "data.validation=4",
        "data.test_size=24",
        "train.epochs=2",
        "protocol.max_new_tokens=64",
    )
    experiment = compose(*overrides)
    tests = load_problems(experiment.data, trained=False).tests
    names = write_tasks(tests, experiment.protocol, tmp_path / "tasks")
    record = run(
        compose(
            *overrides,
            "evaluation.lm_eval=[hyplora_fast_mawps,hyplora_fast_AQuA]",
            f"evaluation.lm_eval_include={tmp_path / 'tasks'}",
        )
    ).record
    for name, key in zip(names, ("mawps", "AQuA"), strict=True):
        theirs = record["lm_eval"][name]["tasks"][name]
        ours = record["scores"][key]
        assert theirs["n"] == ours["n"] == 24
        assert 0 < ours["correct"] < 24
        assert theirs["metrics"]["exact_match.answer"]["value"] == ours["correct"] / 24


@needs_lm_eval
def test_a_prompt_reaches_the_model_unchanged(tiny, tmp_path, cache, monkeypatch):
    from lm_eval.models.huggingface import HFLM

    problems = [Problem("SVAMP", "  {{x}} {% if %} 1,0?\t", "of 2", "", "1")]
    (name,) = write_tasks({"SVAMP": problems}, protocol(), tmp_path)
    seen = []
    write = HFLM.tok_batch_encode
    monkeypatch.setattr(
        HFLM, "tok_batch_encode", lambda s, t, **k: seen.extend(t) or write(s, t, **k)
    )
    own = EvaluationSettings(1, lm_eval=[name], lm_eval_include=str(tmp_path))
    evaluate_tasks(own, load_tasks(own, tmp_path), *tiny, tmp_path)
    assert seen == ["Ask: {{x}} {% if %} 1,0?\nof 2\n\n"]


def test_beam_search_is_refused(compose, tmp_path):
    protocol = compose("protocol=llm_adapters").protocol
    tests = {"mawps": [Problem("mawps", "1+1?", "", "", "2")]}
    with pytest.raises(InputError, match=r"give protocol\.num_beams=1"):
        write_tasks(tests, protocol, tmp_path)
    greedy = dataclasses.replace(protocol, num_beams=1)
    (name,) = write_tasks(tests, greedy, tmp_path)
    task = yaml.safe_load((tmp_path / f"{name}.yaml").read_text())
    assert task["generation_kwargs"]["until"] == ["### Response:"]
