"""action=finetune and action=pretrain."""

from __future__ import annotations

import time
from typing import Any

from bench.config import read_experiment
from bench.progress import duration
from bench.runs.lifecycle import Outcome, open_store
from bench.sweep.launch import began


def finetune(config: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune, evaluate and record."""
    experiment = read_experiment(config)  # refuses at once; the imports take seconds
    from bench.experiment import run

    if config["plan"]:
        return _plan(config)
    watch, trial = None, config["trial"]
    if trial["storage"] is not None:  # of a search
        from bench.sweep.study import pruner

        watch = pruner(trial["storage"], trial["study"], trial["id"])
    start = time.perf_counter()
    outcome = run(experiment, began(), watch)
    record = outcome.record
    scores = ", ".join(f"{s['label']} {s['accuracy']:.1f}" for s in record["scores"].values())
    if not scores:  # without test sets
        losses = record["training"].get("validation")
        scores = f"validation loss {losses[-1][1]:.4f}" if losses else "finished"
    return _result(outcome, scores, start, f" -> {outcome.folder}")


def pretrain(config: dict[str, Any]) -> dict[str, Any]:
    """Pretrain a base from random weights, evaluate and record it."""
    from bench.pretraining.settings import read_pretraining

    pretraining = read_pretraining(config)
    from bench.pretraining import tasks
    from bench.pretraining.run import pretrain as run

    if config["plan"]:
        return _plan(config)
    start = time.perf_counter()
    outcome = run(pretraining, began())
    training, model = outcome.record["training"], outcome.folder / "model"
    where = model if model.is_dir() else "its folder no longer exists: force=true makes it again"
    bits = f"{training['bits_per_byte']:.4f} bits per byte"
    on_tasks = tasks.summary(pretraining.evaluation, outcome.record)
    return _result(outcome, bits, start, f"{on_tasks} -> {where}")


def _plan(config: dict[str, Any]) -> dict[str, Any]:
    from bench.sweep.jobs import make_job, prepared
    from bench.sweep.plan import show_plan, state_of

    run = prepared(config)
    store = open_store(run.settings.tracking)
    job = make_job(run, store, began())
    show_plan([job], store)
    return {"summary": f"{job.settings.name}: {state_of(job)} -> {job.folder}"}


def _result(outcome: Outcome, results: str, start: float, rest: str) -> dict[str, Any]:
    took = "cached" if outcome.found else f"took {duration(time.perf_counter() - start)}"
    summary = f"{outcome.name}: {results} ({took}){rest}"
    return {"summary": summary, "found": outcome.found, "record": outcome.record}
