"""action=tune: what is tried, what is chosen, and what a sweep takes from it."""

import json
import math

import pytest

from bench.errors import InputError
from bench.sweep.rates import Rates, Try, TunedRow, Tuning, grid, next_rate
from tests.helpers import interrupted

HERE = "hydra/launcher=basic"  # in this process


def row(**losses):
    """A row whose mean losses are given by learning rate."""
    tries = tuple(Try({"train.lr": float(lr)}, (loss,), (lr,)) for lr, loss in losses.items())
    return TunedRow("key", "LoRA", tries)


def test_rates_are_a_half_decade_apart():
    assert grid(2.9e-3, 5) == [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
    assert next_rate([1e-3, 3e-3], 1) == 1e-2 and next_rate([1e-3, 3e-3], -1) == 3e-4


@pytest.mark.parametrize(
    ("losses", "edge"),
    [
        ({"1e-3": 2.0, "3e-3": 1.0, "1e-2": 3.0}, 0),
        ({"1e-3": 1.0, "3e-3": 2.0, "1e-2": 3.0}, -1),
        ({"1e-3": 3.0, "3e-3": 2.0, "1e-2": 1.0}, 1),
        ({"1e-3": 3.0, "3e-3": 2.0, "1e-2": None}, 0),
    ],
)
def test_the_best_rate_is_inside_the_grid_or_at_an_edge(losses, edge):
    assert row(**losses).edge == edge


def test_a_try_of_which_a_run_diverged_is_never_the_best():
    tried = Try({"train.lr": 0.1}, (0.1, None), ("a", "b"))
    assert tried.loss == math.inf


def test_a_tuning_is_read_as_it_was_written():
    tuning = Tuning("table", (1000,), ("train.lr",), (row(**{"1e-3": 2.0, "3e-3": None}),))
    content = json.loads(json.dumps(tuning.to_json()))
    assert Tuning.from_json(content).to_json() == tuning.to_json()
    assert content["rows"][0]["chosen"] == {"train.lr": 1e-3}


def test_a_file_that_is_none_is_named(tmp_path):
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning" / "mine.json").write_text("[]")
    with pytest.raises(InputError, match=r"mine\.json was not written by action=tune"):
        Rates("mine", tmp_path)


def test_rates_of_a_results_folder_come_before_the_committed_ones_and_hide_none(tmp_path):
    committed = Rates("ablation", tmp_path).files
    own = Tuning("ablation", (1000,), ("train.lr",), (row(**{"1e-3": 2.0}),))
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning" / "ablation.json").write_text(json.dumps(own.to_json()))
    first, *others = Rates("ablation", tmp_path).files
    assert first[1].to_json() == own.to_json() and others == committed


def test_a_sweep_takes_the_rates_that_its_rows_were_tuned_to(
    inline, records, small, tmp_path, sketched
):
    sweep = ("+sweep=table2", "method=none,lora", "seed=0", *small, HERE)
    tune = (*sweep, "action=tune", "action.seeds=[7]", "action.more=0")
    first = inline(*tune)
    assert first.code == 0, first.stderr
    found = records()
    assert len(found) == 3 and not any(record["scores"] for record in found)
    assert {(record["split"], record["seed"]) for record in found} == {("none", 7)}
    (tuned,) = json.loads((tmp_path / "results/tuning/table2.json").read_text())["rows"]
    losses = {r["train"]["lr"]: r["training"]["validation"][-1][1] for r in found}
    chosen = tuned["chosen"]["train.lr"]
    assert chosen == min(losses, key=losses.get)
    assert "3 runs, 3 cached" in inline(*tune).stdout

    assert inline(*sweep).code == 0
    (trained,) = [record for record in records() if record["seed"] == 0]
    assert trained["train"]["lr"] == chosen
    for rate, cached in ((chosen, 2), (2e-4, 1)):  # a given rate overrides the tuned one
        planned = inline(*sweep, f"train.lr={rate}", "plan=true").stdout
        assert f"{cached} of 2 runs cached" in planned


def test_a_tuning_keeps_the_rows_of_its_file_that_it_did_not_tune(
    inline, small, tmp_path, monkeypatch
):
    file = tmp_path / "results/tuning/table2.json"
    file.parent.mkdir(parents=True)
    before = Tuning("table2", (7,), ("train.lr",), (row(**{"1e-3": 2.0, "3e-3": 1.0}),))
    file.write_text(json.dumps(before.to_json()))
    tune = ("+sweep=table2", "method=none,lora", *small, HERE, "action=tune", "action.more=0")
    refused = inline(*tune, "action.seeds=[8]")
    assert refused.code == 2 and "give action.seeds=[7], or move the file away" in refused.stderr

    with monkeypatch.context() as patch:
        patch.setattr("bench.sweep.tune.Launch.run", interrupted)
        assert inline(*tune, "action.seeds=[7]").code == 130
    assert json.loads(file.read_text()) == json.loads(json.dumps(before.to_json()))

    def diverged(launch, jobs, tries):
        for job in jobs:
            job.failure = "FloatingPointError: loss is nan"

    with monkeypatch.context() as patch:
        patch.setattr("bench.sweep.tune.Launch.run", diverged)
        assert inline(*tune, "action.seeds=[7]").code == 0
        assert "3 runs, 3 cached" in inline(*tune, "action.seeds=[7]").stdout
        assert "3 runs, 0 cached" in inline(*tune, "action.seeds=[7]", "force=true").stdout
    rows = json.loads(file.read_text())["rows"]
    assert [row["key"] for row in rows[:1]] == ["key"] and len(rows) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("+sweep=table2", "train.lr=0.1"), "action=tune chooses train.lr"),
        (("+sweep=table2", "method=none"), "no row of this sweep is trained"),
        (("-m", "method=lora"), "give +sweep=NAME"),
        (("+sweep=tuned",), "each run of tuned has a search of its own"),
        ((), "give +sweep=NAME"),
        (("+sweep=table2", "action.rates=2"), "at least 3"),
        (("+sweep=table2", "+tuning={method.lora_alpha:[1,2]}"), "give train.NAME: [VALUE, ...]"),
        (("+sweep=table2", "+tuning={train.warmup:0.1}"), "give train.NAME: [VALUE, ...]"),
        (("+sweep=table2", "method=lora", "data.validation=0"), "data.validation=0"),
    ],
)
def test_what_cannot_be_tuned_is_refused(inline, arguments, message):
    refused = inline(*arguments, "action=tune")
    assert refused.code == 2 and message in refused.stderr
