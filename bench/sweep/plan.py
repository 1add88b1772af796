"""`plan=true`: what would run, what is cached, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from omegaconf import DictConfig, OmegaConf

from bench.progress import duration
from bench.report.formats import show
from bench.report.tables import Cell, Column, Report, Row, Table
from bench.sweep.estimate import kind_of, pretrains, speeds
from bench.sweep.jobs import Job
from bench.sweep.launch import at_once
from bench.tracking.store import Store

NAMED = ("method", "model", "size", "curvature", "seed")  # by a run's name
# A narrow terminal cuts off what comes last.
COLUMNS = (
    Column("state", "State", "text"),
    Column("estimate", "Estimate", "text"),
    Column("tokens", "Tokens", ","),
    Column("further", "Further overrides", "text"),
)


def show_plan(
    jobs: Sequence[Job], store: Store, config: DictConfig | None = None, counts: Sequence[int] = ()
) -> None:
    """Print the state of each job, and how long those that are pending will take.

    Args:
        jobs: different runs.
        store: with the finished runs that estimates are made from.
        config: of a sweep, with its launcher; None for a single run.
        counts: how many runs like each job are pending, if jobs represent the trials of a search,
            whose settings are not known yet.
    """
    if config and (threads := OmegaConf.select(config, "hydra.job.env_set.OMP_NUM_THREADS")):
        torch.set_num_threads(int(threads))  # the workers' number, which a record's device has
    numbers = list(counts) or [int(job.record is None) for job in jobs]
    found = speeds([job for job, n in zip(jobs, numbers, strict=True) if n], store)
    known = {job.identity: speed.seconds(job) for job in jobs if (speed := found.get(kind_of(job)))}
    missing, cached = sum(numbers), "" if counts else f"{numbers.count(0)} of {len(jobs)} runs "
    notes = [f"{cached}{'cached, ' if cached else ''}{missing} pending."]
    if missing:
        workers = min(at_once(config) if config else 1, missing)
        unknown = any(n and job.identity not in known for job, n in zip(jobs, numbers, strict=True))
        left = sum(n * known.get(job.identity, 0.0) for job, n in zip(jobs, numbers, strict=True))
        notes.append(f"About {duration(left / workers)} with {workers} at once.")
        notes += sorted({f"Estimates: {speed.source}." for speed in found.values() if speed})
        notes += ["Runs without an estimate: their base can't be loaded."] if unknown else []
    rows = []
    for job, n in zip(jobs, numbers, strict=True):
        state = f"{n} pending" if counts else state_of(job)
        seconds = known.get(job.identity) if n else None
        estimate = None if seconds is None else duration(n * seconds)
        cells = {"state": state, "estimate": estimate, "further": further(job)}
        if pretrains(job):
            cells["tokens"] = job.settings.train.steps * job.settings.train.step_tokens
        name = (job.settings.name,)
        rows.append(Row(name, {key: Cell(value) for key, value in cells.items()}))
    columns = [c for c in COLUMNS if any(c.key in row.cells for row in rows)]
    table = Table("plan", "", tuple(columns), tuple(rows), ("Run",), tuple(notes))
    show(Report("plan", "Plan", {}, (table,)))


def further(job: Job) -> str:
    """The overrides of a job that its name does not show; `-` if there are none."""
    words = job.differs.split(" ")
    return " ".join(word for word in words if word.partition("=")[0] not in NAMED) or "-"


def state_of(job: Job) -> str:
    """Whether a job is cached, pending, or how its last attempt ended."""
    if job.record is not None:
        return "cached"
    if job.last is None:
        return "pending"
    finished = "will run again" if job.settings.force else "lacks lm-eval tasks"
    states = {
        "FINISHED": f"finished, {finished}",
        "FAILED": "failed, will retry",
        "KILLED": "interrupted, will resume",
    }
    return states.get(job.last.status, "running or interrupted, will resume")
