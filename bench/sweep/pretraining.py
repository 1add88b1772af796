"""What sweeps need to know of pretraining runs: how they are looked up, and what they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from bench.errors import InputError, printable
from bench.pretraining.run import look_up
from bench.pretraining.settings import read_pretraining
from bench.sweep.jobs import Job, Planner
from bench.tracking.store import Store

if TYPE_CHECKING:
    from bench.report.pretraining import PretrainingSpec


NAMED = ("model", "size", "seed")  # by a run's name


class PretrainPlanner(Planner):
    """Composes and looks up pretraining runs."""

    def job(self, overrides: Sequence[str], told: Sequence[str]) -> Job:
        """The job of a combination, as `Planner.job`."""
        run = read_pretraining(self.composed(overrides))
        prepared, outcome, last = look_up(run, self.store(run), self.began)
        return Job(
            overrides=list(overrides),
            told=" ".join(told) or "(as configured)",
            experiment=run,
            identity=prepared.identity,
            folder=prepared.folder,
            rows=(0, 0),
            last=last,
            record=outcome.record if outcome else None,
            found=outcome is not None,
        )

    def tell_plan(self, jobs: Sequence[Job], store: Store) -> None:
        """Print the state of each job."""
        from bench.report.layout import Document, Section
        from bench.report.render import show
        from bench.sweep.plan import beyond, state_of

        rows = [
            (job.experiment.name, state_of(job), f"{_tokens(job):,}", beyond(job, NAMED))
            for job in jobs
        ]
        left = sum(job.record is None for job in jobs)
        note = f"{len(jobs) - left} of {len(jobs)} runs on record, {left} to do."
        header = ("Run", "State", "Tokens", "Further overrides")
        show(Document("Plan", {}, (Section("", header, tuple(rows), (note,), names=4),)))


def _tokens(job: Job) -> int:
    train = job.experiment.train
    return int(train.steps * train.step_tokens)


@dataclass(frozen=True)
class WantedPretraining:
    """The report of a sweep of pretraining runs."""

    spec: PretrainingSpec
    folder: Path | None

    @property
    def name(self) -> str:
        """As `bench.sweep.show.Shown` has it."""
        return self.spec.name

    def show(
        self, records: list[dict[str, Any]], remarks: Sequence[str]
    ) -> tuple[list[Path], str | None]:
        """As `bench.sweep.show.Shown` has it."""
        from bench.report.pretraining import pretraining_document, write_pretraining
        from bench.report.render import show

        try:
            show(pretraining_document(records, self.spec))
            paths = write_pretraining(records, self.spec, self.folder) if self.folder else []
        except ValueError as error:
            print(printable(f"no report: {error}"))
            problem = f"the report {self.name} can't be made of these runs: {error}"
            return [], problem if self.folder else None
        for path in paths:
            print(path)
        return paths, None


def wanted_pretraining(config: DictConfig) -> WantedPretraining:
    """The report that a sweep file's `pretraining:` asks for.

    Raises:
        InputError: what it says can't be used.
    """
    from bench.config import results_folder
    from bench.report.pretraining import PretrainingSpec

    named = OmegaConf.select(config, "pretraining")
    if named is None:
        return WantedPretraining(PretrainingSpec(name="pretraining", title="Pretraining"), None)
    try:
        spec = PretrainingSpec(**OmegaConf.to_container(named))  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InputError(f"pretraining: {error}") from error
    return WantedPretraining(spec, results_folder(config.tracking.folder))
