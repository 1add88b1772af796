"""Whole sweeps: what they run, what they repeat, and what they leave."""

import optuna
import pytest

from bench.errors import Pruned
from bench.sweep.pruning import pruner
from bench.tracking.store import Store

HERE = "hydra/launcher=basic"  # in this process


def test_equal_tuning_chooses_on_validation_rows_and_shows_the_winners_on_test(
    inline, records, small, tmp_path
):
    tuned = (
        "+sweep=tuned", "method=lora,hyplora", "seed=0,1", "hydra.sweeper.n_trials=2", HERE,
        *small,
    )  # fmt: skip
    first = inline(*tuned)
    assert first.code == 0, first.stderr
    found = records()
    trials = [record for record in found if record["split"] == "validation"]
    finals = [record for record in found if record["split"] == "test"]
    assert len(trials) == len(finals) == 4
    assert {trial["seed"] for trial in trials} == {1000}
    assert sorted(final["seed"] for final in finals) == [0, 0, 1, 1]
    for method in ("lora", "hyplora"):
        best = min(
            (trial for trial in trials if trial["method"] == method),
            key=lambda trial: trial["training"]["validation"][-1][1],
        )
        for final in finals:
            if final["method"] == method:
                assert final["train"]["lr"] == best["train"]["lr"]
                assert final["options"] == best["options"]
    text = (tmp_path / "results" / "tables" / "tuned.md").read_text()
    assert "LoRA: 2 trials (TPE) over train.lr=tag(log,interval(1e-3,1e-1))" in text
    again = inline(*tuned)
    assert "0 done now, 4 on record already" in again.stdout and len(records()) == 8


def test_a_plan_launches_nothing_and_says_what_is_done(inline, records, small):
    grid = ("-m", "method=none,lora", "seed=0,1", *small)
    assert "0 of 3 runs on record, 3 to do" in inline(*grid, "plan=true").stdout
    assert records() == []
    inline("-m", "method=none", *small)
    told = inline(*grid, "plan=true").stdout
    assert "1 of 3 runs on record, 2 to do" in told and "with 1 at once" in told


def test_a_plan_says_how_a_run_stands_in_a_narrow_terminal(inline, small):
    modules = "[q_proj,k_proj,v_proj,up_proj,down_proj]"
    small = [word for word in small if not word.startswith("method.target_modules")]
    told = inline(
        "-m", "method=lora", f"method.target_modules={modules},[down_proj]", *small, "plan=true"
    ).stdout
    (*_, row, _) = [line for line in told.splitlines() if line.startswith("  lora seed 0")]
    assert row.split()[3:5] == ["to", "do"] and "method.target_modules=" in row


def test_a_search_weighs_accuracy_against_latency(inline, records, small, tmp_path):
    result = inline(
        "-m", "hydra/sweeper=optuna", "hydra/sweeper/sampler=nsgaii", "hydra.sweeper.n_trials=3",
        "hydra.sweeper.objective=[validation_accuracy,latency]", "method=lora",
        "evaluation.split=validation", "method.r=2,4,8", *small,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert "On the front of 3 trials" in result.stdout
    assert {record["split"] for record in records()} == {"validation"}
    assert (tmp_path / "results" / "figures" / "sweep_search.png").is_file()


def test_a_study_goes_on_where_it_was_and_refuses_another_space(inline, records, small, tmp_path):
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
    assert refused.code == 2 and "of another search" in refused.stderr and len(records()) == 2


@pytest.mark.slow
def test_the_order_of_runs_in_a_process_changes_none(inline, records, small, tmp_path):
    methods = ("prefix", "series", "dora", "hyplora_boost", "lora_matched")
    inline("-m", f"method={','.join(methods)}", *small)
    one = {record["method"]: record for record in records()}
    inline("-m", f"method={','.join(reversed(methods))}", "force=true", *small)
    other = {record["method"]: record for record in records()}
    for method in methods:
        assert one[method]["run_id"] != other[method]["run_id"]
        assert one[method]["scores"] == other[method]["scores"]
        assert one[method]["training"]["losses"] == other[method]["training"]["losses"]


def test_a_sweep_is_the_parent_of_its_runs(inline, small, tmp_path):
    inline("-m", "method=none,lora", *small)
    store = Store(tmp_path / "results", None, "hyplora-bench")
    runs = store.client.search_runs([store.experiment])
    (parent,) = [run for run in runs if run.data.tags.get("kind") == "sweep"]
    children = [run for run in runs if run is not parent]
    assert parent.info.status == "FINISHED" and len(children) == 2
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parent.info.run_id}


def test_a_run_above_the_median_of_its_search_is_given_up(tmp_path):
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
