"""`plan=true`: what would run, what is done, and how long the rest will take."""

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
from bench.report.layout import Document, Section
from bench.report.render import show
from bench.runs.clock import BEGAN
from bench.sweep.jobs import Job
from bench.sweep.launch import at_once
from bench.tracking.store import Store

NAMED = ("method", "curvature", "seed")  # by a run's name
RECENT = 9  # runs on record that an estimate is the median of


@dataclass(frozen=True)
class Speed:
    """What a kind of run takes.

    Attributes:
        training: seconds for one training row, once.
        evaluation: seconds for one row that is asked.
        rest: seconds of a run outside both: loading, saving, recording.
        source: what it was taken from, for the person.
    """

    training: float
    evaluation: float
    rest: float
    source: str

    def seconds(self, job: Job) -> float:
        """What a job would take."""
        rows, asked = job.rows
        epochs = job.experiment.train.epochs if job.experiment.trained else 0.0
        return self.training * rows * epochs + self.evaluation * asked + self.rest


def tell_plan(
    jobs: Sequence[Job], store: Store, config: DictConfig, counts: Sequence[int] = ()
) -> None:
    """Print the state of each job, and how long those that are left will take.

    Args:
        jobs: different runs.
        store: where the runs on record are that estimates are made from.
        config: the sweep's, with its launcher.
        counts: for each job how many like it are to do, where jobs stand for the trials of a
            search, whose settings are not known yet.
    """
    start = time.time() - float(os.environ[BEGAN])  # imports, which each worker has to do too
    threads = OmegaConf.select(config, "hydra.job.env_set.OMP_NUM_THREADS")
    if threads:  # as the workers will have them, whose runs on record say so
        torch.set_num_threads(int(threads))
    numbers = list(counts) or [int(job.record is None) for job in jobs]
    speeds = measured_speeds([j for j, n in zip(jobs, numbers, strict=True) if n], store)
    rows, seconds = [], 0.0
    for job, number in zip(jobs, numbers, strict=True):
        estimate = number * speeds[kind_of(job.experiment)].seconds(job) if number else 0.0
        seconds += estimate
        state = f"{number} to do" if counts else state_of(job)
        told = duration(estimate) if number else "-"
        rows.append((job.experiment.name, state, told, beyond(job, NAMED)))
    missing = sum(numbers)
    done = "" if counts else f"{len(jobs) - missing} of {len(jobs)} runs on record, "
    notes = [f"{done}{missing} to do."]
    if missing:
        workers = at_once(config)
        left = start + seconds / min(workers, missing)
        notes.append(f"About {duration(left)} with {workers} at once.")
        notes += sorted({f"Estimates: {speed.source}." for speed in speeds.values()})
    # The overrides last: in a narrow terminal they are what is cut off.
    header = ("Run", "State", "Estimate", "Further overrides")
    show(Document("Plan", {}, (Section("", header, tuple(rows), tuple(notes), names=4),)))


def beyond(job: Job, named: Collection[str]) -> str:
    """What was set for a job, beyond the keys whose values its name has; `-` for nothing."""
    words = job.told.split(" ")
    return " ".join(word for word in words if word.partition("=")[0] not in named) or "-"


def measured_speeds(jobs: Sequence[Job], store: Store) -> dict[tuple[Any, ...], Speed]:
    """The speed of each kind of run among the jobs.

    From runs on record with the same method on the same base and kind of device; where there are
    none, from a few steps and tokens of one that is begun here and thrown away.
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
    """What the time of a row depends on, beside the machine."""
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
        source="medians of runs on record with the same method, base and device",
    )


def state_of(job: Job) -> str:
    """How a job stands, in words."""
    if job.record is not None:
        return "on record"
    if job.last is None:
        return "to do"
    states = {"FAILED": "failed, to be tried again", "KILLED": "cut short, goes on"}
    return states.get(job.last.status, "at work, or cut short: goes on")
