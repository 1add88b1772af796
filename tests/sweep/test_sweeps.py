"""Whole sweeps: what they run, what they repeat, and what they leave."""

import re

import optuna
import pytest

from bench.errors import Failure, Pruned
from bench.sweep.study import pruner
from bench.tracking.contents import read_contents
from bench.tracking.store import Store
from tests.helpers import interrupted

HERE = "hydra/launcher=basic"  # in this process


def test_equal_tuning_chooses_on_validation_rows_and_shows_the_winners_on_test(
    inline, records, small, tmp_path, sketched
):
    tuned = (
        "+sweep=tuned", "method=lora", "seed=0,1", "hydra.sweeper.n_trials=2",
        HERE, *small,
    )  # fmt: skip
    first = inline(*tuned)
    assert first.code == 0, first.stderr
    found = records()
    trials = [record for record in found if record["split"] == "none"]
    finals = [record for record in found if record["split"] == "test"]
    assert len(trials) == 4 and sorted(final["seed"] for final in finals) == [0, 1]
    for final in finals:  # one search for each of the two seeds
        own = [t for t in trials if t["seed"] == 1000 + final["seed"]]
        best = min(own, key=lambda trial: trial["training"]["validation"][-1][1])
        assert len(own) == 2 and final["train"]["lr"] == best["train"]["lr"]
        assert final["options"] == best["options"]
    (table,) = (tmp_path / "results" / "tables").glob("tuned*.md")
    text = table.read_text()
    assert len(re.findall(r"^\| LoRA \|", text, re.M)) >= 1  # one row, of both searches
    assert "LoRA: 4 trials of 2 searches (TPE) over train.lr=tag(log,interval(1e-3,1e-1))" in text
    assert all(final["sweeps"][0]["sweep"] == "tuned" for final in finals)
    assert not any("sweeps" in trial for trial in trials)
    again = inline(*tuned)
    assert "0 done now, 2 cached" in again.stdout and len(records()) == 6


def test_trials_of_a_method_without_a_winner_are_no_part_of_the_table(
    inline, small, tmp_path, monkeypatch
):
    launched = []

    def run(launch, jobs, tries=1):
        for job in jobs:
            launched.append((job.planned["method"], job.planned["split"]))
            if launched[-1] == ("hyplora", "none"):
                job.record = {"training": {"validation": [[3, 1.0]], "kept_step": 3}}
            else:
                job.failure = "RuntimeError: gone"

    monkeypatch.setattr("bench.sweep.launch.Launch.run", run)
    words = (
        "+sweep=tuned", "method=lora,hyplora", "hydra.sweeper.n_trials=1", "seed=0",
        "hydra.sweeper.max_retries=0", HERE, *small,
    )  # fmt: skip
    result = inline(*words)
    assert result.code == 1 and "2 runs failed" in result.stderr
    assert launched == [("lora", "none"), ("hyplora", "none"), ("hyplora", "test")]

    monkeypatch.setattr("bench.sweep.launch.Launch.run", interrupted)
    assert inline(*words).code == 130  # the store keeps what the sweep asked for
    contents = read_contents(Store(tmp_path / "results", None, "hyplora-bench"))
    (sweep,) = [sweep for run in contents.sweeps for sweep in run.sweeps]
    assert [row.method for row in sweep.rows] == ["hyplora"]


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [(KeyboardInterrupt(), 130, "KILLED"), (Failure("no launcher"), 1, "FAILED")],
)
def test_a_sweep_that_ends_early_is_not_left_running(
    inline, small, tmp_path, monkeypatch, error, code, status
):
    def run(launch, jobs, tries):
        raise error

    monkeypatch.setattr("bench.sweep.launch.Launch.run", run)
    assert inline("-m", "method=none", HERE, *small).code == code
    store = Store(tmp_path / "results", None, "hyplora-bench")
    (sweep,) = store.client.search_runs([store.experiment], "tags.kind = 'sweep'")
    assert sweep.info.status == status
    assert sweep.data.tags["failure"] == (str(error) or "KeyboardInterrupt")


def test_equal_tuning_over_what_it_does_not_search_is_refused(inline):
    refused = inline("+sweep=tuned", "method=lora", "data.seed=0,1", "plan=true")
    assert refused.code == 2
    assert "methods and seeds, not data.seed: give one value" in refused.stderr


def test_the_plan_of_an_equal_tuning_counts_trials_and_the_winners_runs(inline):
    planned = inline("+sweep=tuned", "method=lora", "seed=2,0", "plan=true").stdout
    pending = re.findall(r"lora seed (\d+) +(\d+) pending", planned)
    assert pending == [("1002", "12"), ("1000", "12"), ("2", "2")]
    assert "26 pending." in planned
    refused = inline("+sweep=tuned", "method=lora", "seed=one", "plan=true")
    assert refused.code == 2 and "seed must be a whole number" in refused.stderr


def test_a_plan_says_what_is_cached_and_estimates_from_sizes_then_from_earlier_runs(
    inline, records, small, monkeypatch
):
    plan = ("model=tiny", *small, "plan=true")
    with monkeypatch.context() as patch:
        for module in ("shared", "loading"):  # nothing is loaded or tried
            patch.setattr(f"bench.models.{module}.load_base", None)
        single = inline("method=lora", *plan).stdout
        assert "0 of 1 runs cached, 1 pending" in single and "Estimates: sizes of model" in single
        pretraining = inline("-m", "action=pretrain", "model=helm_d", "plan=true").stdout
        assert "491,520" in pretraining and "About " in pretraining
    assert records() == []
    assert inline("method=lora", "method.target_modules=[q_proj]", *small).code == 0
    modules = "method.target_modules=[q_proj],[down_proj]"
    planned = inline("-m", "method=lora,dora", modules, *plan).stdout
    assert "1 of 4 runs cached, 3 pending." in planned and "with 1 at once" in planned
    first, second = [line for line in planned.splitlines() if "lora seed 0" in line]
    assert "cached" in first and "pending" in second and "method.target_modules=" in second
    assert "finished runs of the same method" in planned
    assert "finished runs of other methods" in planned


def test_a_search_weighs_accuracy_against_latency(inline, records, small, tmp_path, sketched):
    result = inline(
        "-m", "hydra/sweeper=optuna", "hydra/sweeper/sampler=nsgaii", "hydra.sweeper.n_trials=2",
        "hydra.sweeper.objective=[validation_accuracy,latency]", "method=lora",
        "evaluation.split=validation", "method.r=2,4", *small,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert "On the Pareto front of 2 trials" in result.stdout
    assert {record["split"] for record in records()} == {"validation"}
    assert (tmp_path / "results" / "figures" / "sweep_search.png").is_file()


def test_a_study_is_continued_and_refuses_another_space(inline, records, small, tmp_path, sketched):
    search = (
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.study_name=mine", "method=lora",
        "hydra.sweeper.pruner=median", *small,
    )  # fmt: skip
    space = "train.lr=tag(log,interval(1e-4,1e-2))"
    assert inline(*search, space, "hydra.sweeper.n_trials=1").code == 0
    result = inline(*search, space, "hydra.sweeper.n_trials=2")
    assert "1 finished already" in result.stdout and len(records()) == 2
    store = Store(tmp_path / "results", None, "hyplora-bench")
    (sweep,) = store.client.search_runs([store.experiment], "tags.kind = 'sweep'")
    assert "Best of 2 trials: train.lr=" in sweep.data.tags["mlflow.note.content"]
    refused = inline(*search, "train.lr=1e-4,1e-3", "hydra.sweeper.n_trials=2")
    assert (
        refused.code == 2 and "belongs to another search" in refused.stderr and len(records()) == 2
    )


def test_runs_say_which_sweeps_they_are_part_of(inline, records, small, tmp_path, sketched):
    assert inline("-m", "method=none", *small, HERE).code == 0
    assert not any("sweeps" in record for record in records())
    swept = inline("+sweep=table2", "method=none", "seed=0", *small, HERE)
    assert swept.code == 0 and "0 done now, 1 cached, 0 failed" in swept.stdout
    ((noted,),) = [record["sweeps"] for record in records()]
    assert (noted["sweep"], noted["label"]) == ("table2", "base model")
    store = Store(tmp_path / "results", None, "hyplora-bench")
    contents = read_contents(store)
    (sweep,) = [sweep for run in contents.sweeps for sweep in run.sweeps]
    assert sweep.arguments[:3] == ("+sweep=table2", "method=none", "seed=0")
    assert {m.identity: m.row for m in sweep.members} == {
        record["identity"]: record["sweeps"][0]["row"] for record in contents.records
    }
    (run,) = store.client.search_runs([store.experiment], "tags.sweeps = 'table2'")
    first = [run.run_id for run in contents.sweeps if not run.sweeps]
    assert [run.data.tags["mlflow.parentRunId"]] == first


def test_a_run_above_the_median_of_its_search_is_pruned(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=storage, study_name="mine")
    for _ in range(5):
        trial = study.ask()
        trial.report(1.0, 10)
        study.tell(trial, 1.0)
    good, bad = study.ask(), study.ask()
    pruner(storage, "mine", good._trial_id)(10, 0.9)
    with pytest.raises(Pruned, match="pruned at step 10"):
        pruner(storage, "mine", bad._trial_id)(10, 2.0)
