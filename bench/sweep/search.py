"""A search: an Optuna study, the runs of its trials, and its results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from optuna import Study
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.pruners import MedianPruner, NopPruner
from optuna.trial import FrozenTrial, Trial

from bench.errors import InputError, reason, unknown
from bench.files import digest, sqlite_url
from bench.report.selection import sweep_stem
from bench.sweep.jobs import Job, Planner, different
from bench.sweep.launch import Launch, at_once
from bench.sweep.objectives import Objective, read_objectives
from bench.sweep.space import Space, as_overrides, make_sampler, read_space
from bench.sweep.study import open_study
from bench.sweep.sweep import Sweep
from bench.sweep.trials import Trials, point_of

PRUNERS = ("median",)
POLL = 2.0  # seconds between two checks of other processes


@dataclass(frozen=True)
class Settings:
    """The keys of `hydra.sweeper` that say how a search is done; see conf/hydra/sweeper/."""

    objective: Any
    sampler: Any
    n_trials: int
    n_jobs: int | None
    max_retries: int
    storage: str | None = None
    direction: Any = None
    pruner: str | None = None
    study_name: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("n_trials", self.n_trials), ("n_jobs", self.n_jobs or 1)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"hydra.sweeper.{name} must be at least 1, got {value!r}")
        if self.pruner is not None and self.pruner not in PRUNERS:
            raise unknown("pruner", str(self.pruner), PRUNERS)
        if self.pruner and [o.name for o in self.objectives] != ["validation_loss"]:
            raise InputError(
                "a pruner compares validation losses during training: give "
                "hydra.sweeper.objective=validation_loss"
            )

    @cached_property
    def objectives(self) -> list[Objective]:
        """What is optimised."""
        return read_objectives(self.objective, self.direction)

    @property
    def enumerates(self) -> bool:
        """Whether all points are run, instead of those that a sampler chooses."""
        return make_sampler(self.sampler) is None

    @property
    def sampler_name(self) -> str:
        """The sampler's short name."""
        configured = self.sampler if isinstance(self.sampler, str) else self.sampler["_target_"]
        return str(configured).rpartition(".")[2].removesuffix("Sampler")


class Search:
    """One search: a study, and the runs of its trials.

    Attributes:
        name: name of its study.
        points: points of a grid; None if a sampler chooses.
        count: number of trials.
        known: the jobs known before anything runs: all of a grid, else one point of the space.
        jobs: jobs of the finished and the failed trials, by number, once `run` has ended.
    """

    def __init__(self, title: str, space: Space, settings: Settings, planner: Planner) -> None:
        """Prepare; the study's name begins with `title`, unless it is given.

        Raises:
            InputError: a point can't be run, or does not have the objective.
        """
        self.space, self.settings, self.planner = space, settings, planner
        self.folder = folder = planner.tracking.results
        self.points = space.points() if settings.enumerates else None
        self.count = settings.n_trials if self.points is None else len(self.points)
        self.url = settings.storage or sqlite_url(folder / "optuna.db")
        self.known = self._known()
        self.definition = {
            "space": space.expressions,
            # What trials share and can change their results; with it, another study begins.
            "runs": digest(sorted(job.identity for job in self.known), 10),
            "objectives": [objective.name for objective in settings.objectives],
            "directions": [objective.direction for objective in settings.objectives],
            "sampler": settings.sampler_name,
        }
        self.name = settings.study_name or f"{title}-{digest(self.definition, 8)}"
        # Of all studies: two processes can't create the tables of a database at once.
        self.lock = folder / "optuna.lock"
        self.jobs: dict[int, Job] = {}

    def _known(self) -> list[Job]:
        if self.points is not None:
            jobs = self.planner.jobs(map(self.space.overrides, self.points))
        else:
            words = as_overrides(self.space.expressions)
            jobs = [self.planner.job(self.space.overrides(self.space.some_point()), words)]
        for objective in self.settings.objectives:
            for job in jobs:
                objective.check(job.settings)
            if objective.name == "latency":
                self._check_timed(jobs[0])
        return jobs

    def _check_timed(self, first: Job) -> None:
        """Refuse keys that do not change the run: all trials would have the same latency."""
        point = self.space.some_point()
        for key in (key for key in point if key.startswith("evaluation.")):
            last = self.space.last(key)
            other = self.planner.job(self.space.overrides({**point, key: last}), [])
            if last != point[key] and other.identity == first.identity:
                raise InputError(
                    f"objective latency: {key} changes no result in float32, so all its "
                    "trials are the same run: leave it out, or give evaluation.dtype=bfloat16"
                )

    @cached_property
    def study(self) -> Study:
        """The study, created if it does not exist.

        Raises:
            InputError: its storage can't be used, or it belongs to another search.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        pruner = MedianPruner() if self.settings.pruner else NopPruner()
        directions = [objective.direction for objective in self.settings.objectives]
        return open_study(self.url, self.name, directions, self.definition, self.lock, pruner)

    def left(self) -> int:
        """Number of trials that are missing."""
        return max(0, self.count - finished(self.study))

    def run(self, launch: Launch) -> None:
        """Run the trials that are missing, together with other processes that do so."""
        with Trials(
            self.study, self.space, self.points, self.count,
            self.settings.max_retries, self.lock, self.settings.sampler,
        ) as trials:  # fmt: skip
            waited = False
            size = self.settings.n_jobs or at_once(self.planner.config)
            while True:
                if self._run_some(trials, size, launch):
                    continue
                others = trials.others_at_work()
                if not others:
                    break
                if not waited:
                    where = ", ".join(others)
                    print(f"the remaining trials run in other processes: {where}", flush=True)
                waited = True
                time.sleep(POLL)
        self._collect(launch)

    def _run_some(self, trials: Trials, size: int, launch: Launch) -> bool:
        """Run up to `size` trials, and end those before them that are cached.

        Returns whether any was run; if not, none is left for now.
        """
        taken: list[tuple[Trial, Job]] = []
        try:
            while len(taken) < size and (trial := trials.take()) is not None:
                try:
                    job = self._job(trial, self.settings.pruner is not None)
                except InputError as error:
                    trials.fail(trial, str(error), final=True)
                    continue
                if job.record is None:
                    taken.append((trial, job))
                else:
                    self._end(trials, trial, job)
            jobs = {job.identity: job for _, job in taken}
            launch.run(list(jobs.values()))
        except BaseException:
            for trial, _ in taken:  # no failures of their own: they are run again
                trials.give_back(trial)
            raise
        for trial, job in taken:
            self._end(trials, trial, jobs[job.identity])
        return bool(taken)

    def _job(self, trial: Trial | FrozenTrial, prunes: bool = False) -> Job:
        overrides = self.space.overrides(trial.params)
        if prunes:
            storage, study = (
                QuotedString(text, Quote.single).with_quotes() for text in (self.url, self.name)
            )
            overrides += [
                f"trial.storage={storage}",
                f"trial.study={study}",
                f"trial.id={trial._trial_id}",
            ]
        return self.planner.job(overrides, as_overrides(trial.params))

    def _end(self, trials: Trials, trial: Trial, job: Job) -> None:
        self.jobs[trial.number] = job
        if job.diverged:  # as it would again
            print(f"trial {trial.number} is pruned: {job.failure}", flush=True)
            job.pruned = True
        if job.pruned:
            trials.prune(trial)
        elif job.record is None:
            trials.fail(trial, job.failure or "", final=job.refused)
        else:
            try:
                values = [o.value(job.record) for o in self.settings.objectives]
            except FloatingPointError as error:
                job.failure = reason(error)
                self._end(trials, trial, job)
            except (ValueError, KeyError, IndexError) as error:
                trials.fail(trial, f"no objective: {error}", final=True)
            else:
                trials.complete(trial, values, job.identity)

    def _collect(self, launch: Launch) -> None:
        """Add the runs of other processes and commands, and leave out trials that do not count."""
        own, self.jobs = self.jobs, {}
        for trial, state in states(self.study):
            lost = trial.user_attrs.keys() & {"lost", "repeats"}
            if state == "WAITING" or not trial.params or lost:
                continue
            try:
                job = own.get(trial.number) or self._job(trial)
            except InputError as error:
                print(f"trial {trial.number}: {error}")
                continue
            if state == "FAIL":
                job.failure = trial.user_attrs.get("reason", "")
            job.pruned = state == "PRUNED"
            self.jobs[trial.number] = job
        # A run that the store has lost since is run again.
        launch.run(different(j for j in self.jobs.values() if j.unfinished and j.failure is None))


class SearchSweep(Sweep):
    """`hydra/sweeper=optuna`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.settings = Settings(**self.given)

    def run_jobs(self) -> list[dict[str, Any]]:
        """Plan the search, and run the trials that are missing."""
        space = read_space(self.overrides, grid=self.settings.enumerates)
        title = self.spec.name if self.written else "search"
        search = Search(title, space, self.settings, self.planner)
        jobs = search.known
        if self.config.plan:
            self.plan(jobs, [] if search.points is not None else [search.left()])
            return []
        ended = finished(search.study)
        over = ", ".join(space.distributions)
        trials = f"{search.count} trials over {over}, {ended} finished already"
        print(f"study {search.name}: {trials}", flush=True)
        known = different(jobs) if search.points is not None else []
        launch = self.begin(title, [search.name], search.left(), known)
        search.run(launch)
        self._conclude(search.study, different(search.jobs.values()))
        has_table = self.written or search.points is not None
        return self.end(different(search.jobs.values()), has_table=has_table)

    def _conclude(self, study: Study, jobs: Sequence[Job]) -> None:
        """Note the best trials and the importance of each key, and draw the figure."""
        from bench.report.search import draw_search

        objectives = self.settings.objectives
        trials = [trial for trial, state in states(study) if state == "COMPLETE"]
        if not trials:
            return
        importances: dict[str, float] = {}
        best = list({point_of(trial): trial for trial in study.best_trials}.values())
        points = len({point_of(trial) for trial in trials})
        repeats = points < len(trials)
        for trial in best[:5]:
            values = ", ".join(
                f"{o.name} {value:.4g}" for o, value in zip(objectives, trial.values, strict=True)
            )
            what = "Best" if len(objectives) == 1 else "On the Pareto front"
            where = " ".join(as_overrides(trial.params))
            count = f"{len(trials)} trials" + (f" ({points} different settings)" if repeats else "")
            self.remarks.append(f"{what} of {count}: {where} ({values}).")
        if len(objectives) == 1:
            name = objectives[0].name
            self.metrics[f"best/{name}"] = best[0].values[0]
            if importances := _importances(study):
                shares = ", ".join(f"{key} {share:.0%}" for key, share in importances.items())
                self.remarks.append(f"Importance for {name} (fANOVA): {shares}.")
        sweeps = self._records(jobs)
        stem = sweep_stem(sweeps[0]) if self.written and sweeps else self.spec.name
        self.files += draw_search(
            [(trial.number, list(trial.values)) for trial in trials],
            [(o.name, o.direction) for o in objectives],
            importances,
            [trial.number for trial in best],
            self.results / "figures",
            f"{stem}_search",
        )
        print("\n".join(map(str, self.files)))


def _importances(study: Study) -> dict[str, float]:
    """Share of the objective's variance by key; empty if it can't be computed."""
    try:
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    except (ValueError, RuntimeError):  # too few trials, or all with the same value
        return {}


def states(study: Study) -> list[tuple[FrozenTrial, str]]:
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
