"""Which settings of a run make a row of a table, and what rows are called."""

import pytest

from bench.names import method_label
from bench.report.records import check_comparable, question, settings, training_settings
from tests.report.score_runs import finished


def trained(**train):
    return training_settings(finished(train={"lr": 0.01} | train))


def test_settings_of_the_machine_make_no_row():
    assert trained(micro_batch_size=4, devices=2, workers=0, checkpoint_minutes=1) == trained()
    assert training_settings(finished("none")) == {}


def test_validation_matters_if_the_best_adapter_is_kept():
    assert trained(keep="last", validate_every=80) == trained()
    assert trained(keep="best", validate_every=80) != trained(keep="best", validate_every=200)


def test_a_setting_is_found_by_its_name():
    run = finished(options={"r": 4}, hashes={"adapter": "a" * 64})
    assert [settings(run)[name] for name in ("train.lr", "r", "adapter")] == [0.01, 4, "a" * 10]


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [("evaluation_prompt", "{x}", False), ("name", "other", True), ("target", "{y}", True)],
)
def test_the_question_has_the_prompt_of_evaluation(key, value, same):
    run = finished("none")
    protocol = run["config"]["protocol"] | {key: value}
    other = finished("none", config=run["config"] | {"protocol": protocol})
    assert (question(run) == question(other)) is same


def test_the_question_has_the_dtype_of_evaluation():
    run = finished()
    other = finished(config=run["config"] | {"evaluation": {"dtype": "bfloat16"}})
    assert question(run) != question(other)
    same = finished(config=run["config"] | {"evaluation": {"dtype": None}})
    assert question(run) == question(same)


def test_runs_that_were_evaluated_on_no_rows_make_no_table():
    with pytest.raises(ValueError, match="evaluated on no rows"):
        check_comparable([finished(correct=(), sets={})])


def test_methods_have_labels():
    assert method_label("toy") == "toy"
    assert method_label("hyplora_boost", 0.1) == "HypLoRA (boost, K=0.1)"
    assert method_label("lora_matched", "auto", ["down_proj"]) == (
        "LoRA (matched, K=auto, down_proj)"
    )
