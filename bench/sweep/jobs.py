"""The runs of a sweep before and after they are launched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from bench import experiment
from bench.config import read_experiment, read_tracking
from bench.errors import InputError
from bench.progress import Progress
from bench.runs.lifecycle import PreparedRun, cached, open_store
from bench.sweep.rates import Rates
from bench.tracking.reader import Attempt
from bench.tracking.store import Store


@dataclass
class Job:
    """One combination of a sweep.

    Attributes:
        overrides: command-line overrides, KEY=VALUE.
        differs: the overrides that distinguish it from the other jobs of its sweep.
        settings: the composed settings, an `Experiment` or a `Pretraining`.
        planned: the part of its record that is known before the run.
        folder: results/runs/<id>/.
        rows: number of training rows and of evaluated rows.
        last: its last attempt; None if it was never tried.
        record: of the finished run, or None.
        found: whether it was cached before the sweep reached it.
        failure: why it has no record, in one line.
        refused: whether it failed because of its input, so a retry is useless.
        pruned: whether it was pruned, which is not a failure.
    """

    overrides: list[str]
    differs: str
    settings: Any
    planned: dict[str, Any]
    folder: Path
    rows: tuple[int, int]
    last: Attempt | None
    record: dict[str, Any] | None
    found: bool
    failure: str | None = None
    refused: bool = False
    pruned: bool = False

    @property
    def identity(self) -> str:
        """The run's identity."""
        return self.planned["identity"]

    @property
    def diverged(self) -> bool:
        """Whether its loss became NaN or infinite, as it does in every try."""
        return (self.failure or "").startswith(FloatingPointError.__name__)

    @property
    def unfinished(self) -> bool:
        """Whether it can be tried, or tried again."""
        return self.record is None and not (self.refused or self.pruned or self.diverged)


class Planner:
    """Composes combinations and looks up their runs."""

    def __init__(self, context: HydraContext, config: DictConfig, began: float) -> None:
        """`began`: seconds since the epoch; under `force` only runs that finished later count."""
        self.loader: Any = context.config_loader
        self.config, self.began = config, began
        plain: Any = OmegaConf.to_container(config.tracking, resolve=True)
        self.tracking = read_tracking({"tracking": plain})
        self.rates: Rates | None = None  # of a sweep with a table: the tuned settings of its rows
        self.parser = OverridesParser.create()
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.groups: dict[str, bool] = {}

    def job(self, overrides: Sequence[str], differs: Sequence[str]) -> Job:
        """The job of a combination of overrides, of which `differs` distinguish it from the others.

        Raises:
            InputError: the combination can't be run.
        """
        job = self._job(overrides, differs)
        found = self.rates.find(job.planned) if self.rates else None
        if found is None:
            return job
        chosen, how = found
        given = {override.partition("=")[0].lstrip("+") for override in overrides}
        if given & chosen.keys():
            return job
        train = job.planned["train"]
        words = [f"{k}={v}" for k, v in chosen.items() if train[k.rpartition(".")[2]] != v]
        job = self._job([*overrides, *words], differs) if words else job
        job.planned["tuning"] = how
        return job

    def _job(self, overrides: Sequence[str], differs: Sequence[str]) -> Job:
        run = prepared(self.compose(overrides))
        return make_job(run, self.store, self.began, overrides, differs)

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The resolved configuration of a combination, as Hydra composes it for the job.

        Hydra takes 0.2 s to find and read the files of the groups. Combinations of the same groups
        share that.
        """
        parsed = self.parser.parse_overrides(list(overrides))
        groups = [override for override in parsed if self._is_group(override.key_or_group)]
        words = tuple(override.input_line for override in groups)
        if words not in self.composed:
            of_groups = self.loader.load_sweep_config(self.config, list(words))
            self.composed[words] = without_hydra(of_groups)
        config = self.composed[words].copy()
        OmegaConf.set_struct(config, True)
        values = [override for override in parsed if override not in groups]
        self.loader._apply_overrides_to_config(values, config)
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        return plain

    def _is_group(self, key: str) -> bool:
        if key not in self.groups:
            command = self.config.hydra
            place = {"config_name": command.job.config_name, "overrides": command.overrides.hydra}
            self.groups[key] = bool(self.loader.get_group_options(key, **place))
        return self.groups[key]

    def jobs(self, combinations: Iterable[Sequence[str]]) -> list[Job]:
        """The jobs of all combinations.

        Raises:
            InputError: some can't be run; it names all of them, by reason.
        """
        jobs: list[Job] = []
        refused: dict[str, list[str]] = {}
        listed = [list(overrides) for overrides in combinations]
        shared = set(listed[0]).intersection(*listed) if len(listed) > 1 else set()
        with Progress("checking", total=len(listed), unit="combination") as progress:
            for overrides in listed:
                differs = [override for override in overrides if override not in shared]
                try:
                    jobs.append(self.job(overrides, differs))
                except InputError as error:
                    refused.setdefault(str(error), []).append(" ".join(differs))
                progress.update(1)
        if refused:
            count = sum(map(len, refused.values()))
            lines = [f"{count} combination{'s' if count > 1 else ''} can't be run:"]
            for reason, words in refused.items():
                which = "" if len(words) == len(listed) else f"{'; '.join(words)}: "
                lines.append(f"  {which}{reason}")
            raise InputError("\n".join(lines))
        return jobs

    @cached_property
    def store(self) -> Store:
        """The tracking store, opened when the first combination was checked."""
        return open_store(self.tracking)


def make_job(
    run: PreparedRun,
    store: Store,
    began: float,
    overrides: Sequence[str] = (),
    differs: Sequence[str] = (),
) -> Job:
    """The job of a prepared run; `began` as for `Planner`.

    Raises:
        InputError: it can't be run.
    """
    rows = (0, 0)
    if isinstance(run, experiment.Prepared):
        evaluated = run.problems.split(run.settings.evaluation.split)
        rows = (len(run.problems.train), sum(map(len, evaluated.values())))
    outcome, last = cached(run, store, began), None
    if outcome is None:
        run.check()
        last = store.attempt(run.identity)
    return Job(
        overrides=[*overrides],
        differs=" ".join(differs) or "(as configured)",
        settings=run.settings,
        planned=run.planned,
        folder=run.folder,
        rows=rows,
        last=last,
        record=outcome.record if outcome else None,
        found=outcome is not None,
    )


def prepared(config: dict[str, Any]) -> PreparedRun:
    """The run of a resolved configuration of action=finetune or action=pretrain."""
    if config["action"]["name"] != "pretrain":
        return experiment.prepare(read_experiment(config))
    from bench.pretraining.run import prepare
    from bench.pretraining.settings import read_pretraining

    return prepare(read_pretraining(config))


def without_hydra(config: DictConfig) -> DictConfig:
    """A composed configuration without Hydra's own part, whose values are set only in a job."""
    copy = config.copy()
    OmegaConf.set_readonly(copy, False)
    OmegaConf.set_struct(copy, False)
    copy.pop("hydra", None)
    return copy


def different(jobs: Iterable[Job]) -> list[Job]:
    """One job per run: several curvatures are one run for a method without curvature."""
    unique: dict[str, Job] = {}
    for job in jobs:
        unique.setdefault(job.identity, job)
    return list(unique.values())
