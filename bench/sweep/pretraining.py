"""Planning of pretraining runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from bench.pretraining.run import look_up
from bench.pretraining.settings import read_pretraining
from bench.report.tables import Column
from bench.sweep.jobs import Job, Planner
from bench.sweep.plan import print_plan, state_of
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
        left = sum(job.record is None for job in jobs)
        note = f"{len(jobs) - left} of {len(jobs)} runs cached, {left} pending."
        trains = [job.experiment.train for job in jobs]
        tokens = [train.steps * train.step_tokens for train in trains]
        print_plan(
            jobs, [*map(state_of, jobs)], Column("tokens", "Tokens", ","), tokens, NAMED, [note]
        )
