"""The runs of a sweep before and after they are launched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from bench.config import Experiment, read_experiment
from bench.errors import InputError
from bench.experiment import look_up
from bench.identity import RESULT_VERSION
from bench.runs.lifecycle import open_store
from bench.tracking.store import Attempt, Store


@dataclass
class Job:
    """One combination of a sweep.

    Attributes:
        overrides: of the command line, KEY=VALUE.
        differs: those of them that distinguish it from the others of its sweep.
        experiment: what they compose to; for action=pretrain a `Pretraining`.
        planned: its record, as far as it is known before it is run.
        folder: results/runs/<id>/.
        rows: of training and of the split that is evaluated.
        last: its last attempt; None if it was never tried.
        record: of the finished run, or None.
        found: whether it was cached before the sweep came to it.
        failure: why it has no record, in one line.
        refused: whether it failed because of its input, so that a retry is no use.
        pruned: whether it was pruned, which is no failure.
    """

    overrides: list[str]
    differs: str
    experiment: Any
    planned: dict[str, Any]
    folder: Path
    rows: tuple[int, int] = (0, 0)
    last: Attempt | None = None
    record: dict[str, Any] | None = None
    found: bool = False
    failure: str | None = None
    refused: bool = False
    pruned: bool = False

    @property
    def identity(self) -> str:
        """Of the run."""
        return self.planned["identity"]

    @property
    def unfinished(self) -> bool:
        """Whether it can be tried, or tried again."""
        return self.record is None and not self.refused and not self.pruned


@dataclass
class Planner:
    """Composes combinations and looks up what is known of them.

    Attributes:
        hydra_context: what Hydra composes with.
        config: the sweep's own.
        began: when the command began, seconds since the epoch: under `force` only runs that
            finished later count.
    """

    hydra_context: HydraContext
    config: DictConfig
    began: float
    stores: dict[tuple[Any, ...], Store] = field(default_factory=dict)

    def job(self, overrides: Sequence[str], differs: Sequence[str]) -> Job:
        """The job of a combination.

        Args:
            overrides: KEY=VALUE.
            differs: those of them that distinguish it from the others.

        Raises:
            InputError: the combination can't be run.
        """
        experiment = read_experiment(self.composed(overrides))
        prepared, outcome, last = look_up(experiment, self.store(experiment), self.began)
        evaluated = prepared.problems.split(experiment.evaluation.split)
        return Job(
            overrides=list(overrides),
            differs=" ".join(differs) or "(as configured)",
            experiment=experiment,
            planned=planned_record(experiment, prepared),
            folder=prepared.folder,
            rows=(len(prepared.problems.train), sum(map(len, evaluated.values()))),
            last=last,
            record=outcome.record if outcome else None,
            found=outcome is not None,
        )

    def composed(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The configuration of a combination, as plain containers."""
        loader = self.hydra_context.config_loader
        composed = loader.load_sweep_config(self.config, list(overrides))
        return OmegaConf.to_container(  # type: ignore[return-value]
            without_hydra(composed), resolve=True, throw_on_missing=True
        )

    def show_plan(self, jobs: Sequence[Job], store: Store) -> None:
        """Print the state of each job, and how long the rest will take."""
        from bench.sweep.plan import show_plan

        show_plan(jobs, store, self.config)

    def jobs(self, combinations: Iterable[Sequence[str]]) -> list[Job]:
        """The jobs of all combinations.

        Raises:
            InputError: some can't be run; it names all of them.
        """
        jobs, refused = [], []
        listed = [list(overrides) for overrides in combinations]
        shared = set(listed[0]).intersection(*listed) if len(listed) > 1 else set()
        for overrides in listed:
            differs = [override for override in overrides if override not in shared]
            try:
                jobs.append(self.job(overrides, differs))
            except InputError as error:
                refused.append((" ".join(differs), error))
        if refused:
            lines = [f"  {differs}: {error}".replace("  : ", "  ") for differs, error in refused]
            what = "combinations" if len(refused) > 1 else "combination"
            raise InputError("\n".join([f"{len(refused)} {what} can't be run:", *lines]))
        return jobs

    def store(self, experiment: Experiment) -> Store:
        """The tracking store of an experiment, opened once."""
        key = (experiment.results, experiment.tracking.uri, experiment.tracking.experiment)
        if key not in self.stores:
            self.stores[key] = open_store(experiment.tracking)
        return self.stores[key]


def planned_record(experiment: Experiment, prepared: Any) -> dict[str, Any]:
    """What the record of a fine-tuning run will say of its settings."""
    return {
        "identity": prepared.identity,
        "result_version": RESULT_VERSION,
        "method": experiment.method.name,
        "curvature": experiment.method.curvature,
        "options": experiment.method.options,
        "seed": experiment.seed if experiment.trained else None,
        "model": experiment.model.name,
        "published_base": experiment.model.published,
        "data": experiment.data.source,
        "split": experiment.evaluation.split,
        "protocol": experiment.protocol.name,
        "train": asdict(experiment.train) | {"precision": prepared.precision},
        "config": {"model": asdict(experiment.model), "protocol": asdict(experiment.protocol)},
        "hashes": prepared.hashes,
    }


def without_hydra(config: DictConfig) -> DictConfig:
    """A composed configuration without Hydra's own part, whose values are set only in a job."""
    copy = config.copy()
    OmegaConf.set_readonly(copy, False)
    OmegaConf.set_struct(copy, False)
    copy.pop("hydra", None)
    return copy


def different(jobs: Iterable[Job]) -> list[Job]:
    """One job per run: a curvature makes no second run of a method that has none."""
    unique: dict[str, Job] = {}
    for job in jobs:
        unique.setdefault(job.identity, job)
    return list(unique.values())
