"""Planning of pretraining runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from bench.pretraining.run import look_up
from bench.pretraining.settings import read_pretraining
from bench.report.formats import show
from bench.report.tables import Cell, Column, Report, Row, Table
from bench.sweep.jobs import Job, Planner
from bench.sweep.plan import further, state_of
from bench.tracking.record import PRETRAIN
from bench.tracking.store import Store

NAMED = ("model", "size", "seed")  # by a run's name


class PretrainPlanner(Planner):
    """Composes and looks up pretraining runs."""

    def job(self, overrides: Sequence[str], differs: Sequence[str]) -> Job:
        """The job of a combination, as `Planner.job`."""
        run = read_pretraining(self.composed(overrides))
        prepared, outcome, last = look_up(run, self.store(run), self.began)
        return Job(
            overrides=list(overrides),
            differs=" ".join(differs) or "(as configured)",
            experiment=run,
            planned={
                "kind": PRETRAIN,
                "identity": prepared.identity,
                "model": run.model.name,
                "size": run.model.size,
                "seed": run.seed,
                "train": asdict(run.train) | {"precision": prepared.precision},
                "choices": dict(run.model.choices),
                "hashes": prepared.hashes,
            },
            folder=prepared.folder,
            last=last,
            record=outcome.record if outcome else None,
            found=outcome is not None,
        )

    def show_plan(self, jobs: Sequence[Job], store: Store) -> None:
        """Print the state of each job."""
        columns = (
            Column("state", "State", "text"),
            Column("tokens", "Tokens", ","),
            Column("further", "Further overrides", "text"),
        )
        rows = tuple(
            Row(
                (job.experiment.name,),
                {
                    "state": Cell(state_of(job)),
                    "tokens": Cell(job.experiment.train.steps * job.experiment.train.step_tokens),
                    "further": Cell(further(job, NAMED)),
                },
            )
            for job in jobs
        )
        left = sum(job.record is None for job in jobs)
        notes = (f"{len(jobs) - left} of {len(jobs)} runs cached, {left} pending.",)
        show(Report("plan", "Plan", {}, (Table("plan", "", columns, rows, ("Run",), notes),)))
