"""The sweeper of `hydra/sweeper=optuna`: one search, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override

from bench.sweep.objectives import read_objectives
from bench.sweep.search import Search, Settings, finished, states
from bench.sweep.space import make_sampler, read_space
from bench.sweep.sweeper import Ending, RunSweeper

if TYPE_CHECKING:
    from optuna import Study

    from bench.sweep.jobs import Planner
    from bench.sweep.show import Wanted


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
