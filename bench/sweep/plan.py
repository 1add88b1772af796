"""`plan=true`: what would run, what is cached, and how long the rest will take."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from bench.config import Experiment
from bench.progress import duration
from bench.report.formats import show
from bench.report.tables import Cell, Column, Report, Row, Table
from bench.runs.clock import BEGAN
from bench.sweep.jobs import Job
from bench.sweep.launch import at_once
from bench.tracking.store import Store

NAMED = ("method", "curvature", "seed")  # by a run's name
RECENT = 9  # finished runs that an estimate is the median of


@dataclass(frozen=True)
class Speed:
    """How long a kind of run takes.

    Attributes:
        training: seconds per training row and epoch.
        evaluation: seconds per evaluated row.
        rest: seconds of a run outside both: loading, saving, recording.
        source: what it was estimated from.
    """

    training: float
    evaluation: float
    rest: float
    source: str

    def seconds(self, job: Job) -> float:
        """How long a job would take."""
        rows, asked = job.rows
        epochs = job.experiment.train.epochs if job.experiment.trained else 0.0
        return self.training * rows * epochs + self.evaluation * asked + self.rest


def show_plan(
    jobs: Sequence[Job], store: Store, config: DictConfig, counts: Sequence[int] = ()
) -> None:
    """Print the state of each job, and how long those that are pending will take.

    Args:
        jobs: different runs.
        store: with the finished runs that estimates are made from.
        config: the sweep's, with its launcher.
        counts: how many runs like each job are pending, if jobs represent the trials of a search,
            whose settings are not known yet.
    """
    start = time.time() - float(os.environ[BEGAN])  # imports, which each worker does too
    threads = OmegaConf.select(config, "hydra.job.env_set.OMP_NUM_THREADS")
    if threads:  # the workers' number, which the device of a record names
        torch.set_num_threads(int(threads))
    numbers = list(counts) or [int(job.record is None) for job in jobs]
    speeds = measured_speeds([j for j, n in zip(jobs, numbers, strict=True) if n], store)
    estimates = [
        n * speeds[kind_of(job.experiment)].seconds(job) if n else 0.0
        for job, n in zip(jobs, numbers, strict=True)
    ]
    missing = sum(numbers)
    cached = "" if counts else f"{len(jobs) - missing} of {len(jobs)} runs cached, "
    notes = [f"{cached}{missing} pending."]
    if missing:
        workers = at_once(config)
        left = start + sum(estimates) / min(workers, missing)
        notes.append(f"About {duration(left)} with {workers} at once.")
        notes += sorted({f"Estimates: {speed.source}." for speed in speeds.values()})
    states = [f"{n} pending" for n in counts] or list(map(state_of, jobs))
    shown = [duration(one) if n else None for one, n in zip(estimates, numbers, strict=True)]
    print_plan(jobs, states, Column("estimate", "Estimate", "text"), shown, NAMED, notes)


def print_plan(
    jobs: Sequence[Job],
    states: Sequence[str],
    column: Column,
    values: Sequence[Any],
    named: Collection[str],
    notes: Sequence[str],
) -> None:
    """Print a plan: for each job its state, a value, and what else was set for it.

    Args:
        jobs: of the plan.
        states: of each.
        column: of the values.
        values: one per job.
        named: keys whose values the name of a run contains.
        notes: printed below.
    """
    # A narrow terminal cuts off what comes last.
    columns = (
        Column("state", "State", "text"), column, Column("further", "Further overrides", "text"),
    )  # fmt: skip
    rows = [
        Row(
            (job.experiment.name,),
            {
                "state": Cell(state),
                column.key: Cell(value),
                "further": Cell(further(job, named)),
            },
        )
        for job, state, value in zip(jobs, states, values, strict=True)
    ]
    table = Table("plan", "", columns, tuple(rows), ("Run",), tuple(notes))
    show(Report("plan", "Plan", {}, (table,)))


def further(job: Job, named: Collection[str]) -> str:
    """What was set for a job, beyond the keys whose values its name contains; `-` for nothing."""
    words = job.differs.split(" ")
    return " ".join(word for word in words if word.partition("=")[0] not in named) or "-"


def measured_speeds(jobs: Sequence[Job], store: Store) -> dict[tuple[Any, ...], Speed]:
    """The speed of each kind of run among the jobs.

    From finished runs of the same method on the same base and kind of device; if there are none,
    from a few steps and tokens of a run that is started here and discarded.
    """
    from bench.models.loading import pick_device
    from bench.sweep.trial_run import try_out
    from bench.tracking.provenance import device_name

    device = device_name(pick_device())
    speeds: dict[tuple[Any, ...], Speed] = {}
    for job in jobs:
        kind = kind_of(job.experiment)
        if kind not in speeds:
            speeds[kind] = _from_record(job, store, device) or try_out(job)
    return speeds


def kind_of(experiment: Experiment) -> tuple[Any, ...]:
    """What the time of a row depends on, apart from the machine."""
    return (experiment.method.name, experiment.model.name, experiment.data.source)


def _from_record(job: Job, store: Store, device: str) -> Speed | None:
    experiment = job.experiment
    wanted = {
        "method": experiment.method.name,
        "model": experiment.model.name,
        "data": experiment.data.source,
        "device": device,
    }
    found = [f for f in store.timings(wanted, RECENT) if f["asked"]]
    found = [f for f in found if bool(f["trained"]) == experiment.trained]
    if not found:
        return None
    per_row = [f["finetune"] / f["trained"] if f["trained"] else 0.0 for f in found]
    return Speed(
        training=median(per_row),
        evaluation=median(f["evaluate"] / f["asked"] for f in found),
        rest=median(max(0.0, f["total"] - f["finetune"] - f["evaluate"]) for f in found),
        source="medians of finished runs with the same method, base and device",
    )


def state_of(job: Job) -> str:
    """Whether a job is cached, pending, or how its last attempt ended."""
    if job.record is not None:
        return "cached"
    if job.last is None:
        return "pending"
    states = {"FAILED": "failed, will retry", "KILLED": "interrupted, will resume"}
    return states.get(job.last.status, "running or interrupted, will resume")
