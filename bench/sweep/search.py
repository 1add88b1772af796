"""The search of `hydra/sweeper=optuna`: Optuna chooses, this project runs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from bench.errors import InputError, unknown
from bench.sweep.objectives import Objective, check_objectives, read_objectives
from bench.sweep.space import Space, make_sampler, quoted, read_space
from bench.sweep.sweeper import Ending, RunSweeper

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from bench.sweep.jobs import Job, Planner
    from bench.sweep.launch import Launch
    from bench.sweep.show import Wanted

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
        self.url = self.settings.storage or f"sqlite:///{self.folder / 'optuna.db'}"
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
        from bench.sweep.study import Trials, Worker

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


class SearchSweeper(RunSweeper):
    """`hydra/sweeper=optuna`."""

    def __init__(
        self,
        params: Mapping[str, str] | None,
        objective: Any,
        direction: Any,
        sampler: Any,
        storage: str | None,
        study_name: str | None,
        n_trials: int,
        n_jobs: int | None,
        max_retries: int,
        pruner: str | None,
    ) -> None:
        super().__init__(params, max_retries)
        self.study_name = study_name
        objectives = read_objectives(objective, direction)
        self.settings = Settings(
            objectives, sampler, n_trials, n_jobs, max_retries, storage, pruner
        )

    def carry_out(
        self, overrides: Sequence[Override], planner: Planner, table: Wanted
    ) -> list[dict[str, Any]]:
        """Plan the search, and run the trials that are missing."""
        from bench.config import results_folder
        from bench.sweep.jobs import different
        from bench.sweep.plan import show_plan

        sampler = make_sampler(self.settings.sampler)
        space = read_space(overrides, grid=sampler is None)
        folder = results_folder(self.config.tracking.folder)
        title = table.name if table.folder else "search"
        search = Search(title, space, self.settings, planner, folder, self.study_name or "")
        jobs = search.check()
        store = planner.store(jobs[0].experiment)
        if self.config.plan:
            left = [] if search.points is not None else [search.count - finished(search.open())]
            show_plan(jobs, store, self.config, left)
            return []
        study = search.open()
        over = ", ".join(space.distributions)
        print(
            f"study {search.name}: {search.count} trials over {over}, "
            f"{finished(study)} finished already",
            flush=True,
        )
        pending = search.count - finished(study)
        known = different(jobs) if search.points is not None else []
        launch = self.begin(store, title, [search.name], pending, table, known)
        began = time.perf_counter()
        search.run(study, launch)
        ending = conclude(search, study, table)
        wanted = table if table.folder or search.points is not None else None
        return self.end(launch, different(search.jobs.values()), began, wanted, ending)


def conclude(search: Search, study: Study, table: Wanted) -> Ending:
    """The results of a search: its best trials and the importance of its keys, and a figure."""
    from bench.report.search import draw_search

    objectives = search.settings.objectives
    trials = [t for t, state in states(study) if state == "COMPLETE"]
    ending = Ending()
    if not trials:
        return ending
    points = [(trial.number, list(trial.values)) for trial in trials]
    best = study.best_trials
    for trial in best[:5]:
        figures = ", ".join(
            f"{o.name} {value:.4g}" for o, value in zip(objectives, trial.values, strict=True)
        )
        chosen = " ".join(f"{key}={value}" for key, value in trial.params.items())
        what = "Best" if len(objectives) == 1 else "On the Pareto front"
        ending.remarks.append(f"{what} of {len(trials)} trials: {chosen} ({figures}).")
    importances: dict[str, float] = {}
    if len(objectives) == 1:
        ending.figures[f"best/{objectives[0].name}"] = best[0].values[0]
        importances = _importances(study)
        if importances:
            shares = ", ".join(f"{key} {share:.0%}" for key, share in importances.items())
            ending.remarks.append(f"Importance for {objectives[0].name} (fANOVA): {shares}.")
    name = f"{table.name}_search"
    ending.files = draw_search(
        points, [(o.name, o.direction) for o in objectives], importances,
        [t.number for t in best], search.folder / "figures", name,
    )  # fmt: skip
    for path in ending.files:
        print(path)
    return ending


def _importances(study: Study) -> dict[str, float]:
    """Share of the objective's variance by key; empty if it can't be computed."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    try:
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    except (ValueError, RuntimeError):  # too few trials, or all with the same value
        return {}
