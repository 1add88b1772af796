"""A search: a study of Optuna's, and the runs of its trials."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from bench.errors import InputError, unknown
from bench.files import sqlite_url
from bench.sweep.objectives import Objective, check_objectives
from bench.sweep.space import Space, make_sampler, quoted

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from bench.sweep.jobs import Job, Planner
    from bench.sweep.launch import Launch

# What changes no trial: a search resumes under other values of these.
UNFIXED = ("hydra", "tracking", "table", "force", "plan", "trial")
PRUNERS = ("median",)
POLL = 2.0  # seconds between two checks of other processes


@dataclass(frozen=True)
class Settings:
    """How a search is done.

    Attributes:
        objectives: what is optimised.
        sampler: Optuna's as configured; a grid enumerates all points.
        trials: how many; a grid runs all points.
        at_once: trials launched together; None for as many as the launcher runs.
        max_retries: how often a failed trial is tried again.
        storage: of the study; None: sqlite in the results folder.
        pruner: `median`, or None.
    """

    objectives: list[Objective]
    sampler: Any
    trials: int
    at_once: int | None
    max_retries: int
    storage: str | None
    pruner: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("n_trials", self.trials), ("n_jobs", self.at_once or 1)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"hydra.sweeper.{name} must be at least 1, got {value!r}")
        if self.pruner is not None and self.pruner not in PRUNERS:
            raise unknown("pruner", str(self.pruner), PRUNERS)
        names = [objective.name for objective in self.objectives]
        if self.pruner and names != ["validation_loss"]:
            raise InputError(
                "a pruner compares validation losses during training: give "
                "hydra.sweeper.objective=validation_loss"
            )

    @property
    def sampler_name(self) -> str:
        """The sampler's short name."""
        configured = self.sampler if isinstance(self.sampler, str) else self.sampler["_target_"]
        return str(configured).rpartition(".")[2].removesuffix("Sampler")


@dataclass
class Search:
    """One search: a study, and the runs of its trials.

    Attributes:
        title: beginning of its study's name.
        space: that is searched in.
        settings: how.
        planner: composes trials and looks them up.
        folder: the results folder.
        name: of its study; empty: derived from the settings.
        jobs: of the finished and the failed trials, by number, once `run` has ended.
        fresh: identities of the runs that this process made.
    """

    title: str
    space: Space
    settings: Settings
    planner: Planner
    folder: Path
    name: str = ""
    jobs: dict[int, Job] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        grid = make_sampler(self.settings.sampler) is None
        self.points = self.space.points() if grid else None
        self.url = self.settings.storage or sqlite_url(self.folder / "optuna.db")
        self.facts = {
            "space": self.space.words,
            "fixed": fixed_settings(self.planner.config, self.space),
            "objectives": [objective.name for objective in self.settings.objectives],
            "sampler": self.settings.sampler_name,
        }
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()
        self.name = self.name or f"{self.title}-{digest[:8]}"

    @property
    def count(self) -> int:
        """Number of trials."""
        return self.settings.trials if self.points is None else len(self.points)

    def check(self) -> list[Job]:
        """The jobs that are known before anything runs: of a grid all, else one of the space.

        Raises:
            InputError: a point can't be run.
        """
        if self.points is not None:
            jobs = self.planner.jobs(map(self.space.overrides, self.points))
        else:
            words = [f"{key}={word}" for key, word in self.space.words.items()]
            jobs = [self.planner.job(self.space.overrides(self.space.some_point()), words)]
        check_objectives(self.settings.objectives, jobs[0].experiment)
        return jobs

    def open(self) -> Study:
        """The study.

        Raises:
            InputError: its storage can't be used, or it belongs to another search.
        """
        from optuna.pruners import MedianPruner, NopPruner

        from bench.sweep.study import open_study

        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = self.folder / f"{hashlib.sha256(self.name.encode()).hexdigest()[:12]}.lock"
        pruner = MedianPruner() if self.settings.pruner else NopPruner()
        directions = [objective.direction for objective in self.settings.objectives]
        return open_study(
            self.url, self.name, directions, self.facts, self.lock, pruner=pruner,
        )  # fmt: skip

    def run(self, study: Study, launch: Launch) -> None:
        """Run the trials that are missing, together with other processes that do so."""
        from bench.sweep.launch import at_once
        from bench.sweep.study import Worker
        from bench.sweep.trials import Trials

        with Worker(study) as worker:
            trials = Trials(
                study, self.space, self.points, self.count,
                self.settings.max_retries, worker, self.lock,
                lambda turn: make_sampler(self.settings.sampler, turn),
            )  # fmt: skip
            waited = False
            size = self.settings.at_once or at_once(self.planner.config)
            while True:
                taken: list[Trial] = []
                while len(taken) < size and (trial := trials.take()) is not None:
                    taken.append(trial)
                if taken:
                    self._round(trials, taken, launch)
                elif trials.others_at_work():
                    if not waited:
                        print("the remaining trials run in other processes", flush=True)
                    waited = True
                    time.sleep(POLL)
                else:
                    break
        self._collect(study, launch)

    def _round(self, trials: Any, taken: Sequence[Trial], launch: Launch) -> None:
        from bench.sweep.jobs import different

        jobs: dict[int, Job] = {}
        try:
            for trial in taken:
                try:
                    jobs[trial.number] = self._job(trial, self.settings.pruner is not None)
                except InputError as error:
                    trials.fail(trial, str(error), final=True)
            missing = different(job for job in jobs.values() if job.record is None)
            launch.run(missing)
        except BaseException:
            for trial in taken:  # no failures of their own: they are run again
                trials.give_back(trial)
            raise
        done = {job.identity: job for job in missing}
        self.fresh |= {job.identity for job in missing if not job.found}
        for trial in taken:
            if trial.number in jobs:
                job = jobs[trial.number]
                self._report(trials, trial, done.get(job.identity, job))

    def _job(self, trial: Trial | FrozenTrial, prunes: bool = False) -> Job:
        overrides = self.space.overrides(trial.params)
        if prunes:
            overrides += [
                f"trial.storage={quoted(self.url)}",
                f"trial.study={quoted(self.name)}",
                f"trial.id={trial._trial_id}",
            ]
        return self.planner.job(overrides, self.space.chosen(trial.params))

    def _report(self, trials: Any, trial: Trial, job: Job) -> None:
        if job.pruned:
            trials.prune(trial)
        elif job.record is None:
            trials.fail(trial, job.failure or "", final=job.refused)
        else:
            try:
                values = [o.value(job.record) for o in self.settings.objectives]
            except (ValueError, KeyError, IndexError) as error:
                trials.fail(trial, f"no objective: {error}", final=True)
            else:
                trials.complete(trial, values, job.identity)

    def _collect(self, study: Study, launch: Launch) -> None:
        """Look up the runs of all trials, including those of other processes and commands."""
        from bench.sweep.jobs import different

        for trial, state in states(study):
            if state == "FAIL" and (trial.user_attrs.get("lost") or not trial.params):
                continue
            try:
                job = self._job(trial)
            except InputError as error:
                print(f"trial {trial.number}: {error}")
                continue
            if state == "FAIL":
                job.failure = trial.user_attrs.get("reason", "")
            job.pruned = state == "PRUNED"
            job.found = job.found and job.identity not in self.fresh
            self.jobs[trial.number] = job
        # A run that the store has lost since is run again.
        launch.run(different(j for j in self.jobs.values() if j.unfinished and j.failure is None))


def states(study: Study) -> list[tuple[Any, str]]:
    """The trials that count, with their states; of a point that only failed, the last."""
    trials = study.get_trials(deepcopy=False)
    counted = [trial for trial in trials if trial.state.name != "FAIL"]
    points = {trial.user_attrs.get("point") for trial in counted}
    failed = {t.user_attrs.get("point"): t for t in trials if t.state.name == "FAIL"}
    counted += [trial for point, trial in failed.items() if point not in points]
    return [(trial, trial.state.name) for trial in counted]


def finished(study: Study) -> int:
    """Number of points that need not be run again."""
    return sum(state in ("COMPLETE", "PRUNED") for _, state in states(study))


def fixed_settings(config: DictConfig, space: Space) -> str:
    """Hash of all settings that trials share and that can change their results."""
    from bench.sweep.jobs import without_hydra

    plain = OmegaConf.to_container(without_hydra(config), resolve=True)
    assert isinstance(plain, dict)
    settings = {str(key): value for key, value in plain.items() if key not in UNFIXED}
    settings["overrides"] = [o for o in space.fixed if not o.startswith(UNFIXED)]
    settings["evaluation"] = settings["evaluation"]["split"]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
