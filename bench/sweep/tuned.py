"""Equal tuning of all methods: a search for each on validation rows, then the winners on test."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from bench.config import results_folder
from bench.errors import Failure, InputError, unknown
from bench.sweep.grid import combinations
from bench.sweep.objectives import read_objectives
from bench.sweep.search import Search, Settings, finished, states
from bench.sweep.space import make_sampler, read_space
from bench.sweep.sweeper import Ending, RunSweeper

if TYPE_CHECKING:
    from optuna import Study

    from bench.sweep.jobs import Job, Planner
    from bench.sweep.show import Wanted

# Trials have their own seed, so that no run of a search is one of the table's.
SEED = 1000


class TunedSweeper(RunSweeper):
    """`hydra/sweeper=tuned`.

    Every method has the same number of trials over its own space, evaluated on validation rows.
    Only the best point of each is then run with the seeds of the table on the test rows.
    """

    def __init__(
        self,
        params: Mapping[str, str] | None,
        spaces: Mapping[str, Mapping[str, str]] | None,
        objective: str,
        sampler: Any,
        storage: str | None,
        n_trials: int,
        n_jobs: int | None,
        max_retries: int,
    ) -> None:
        super().__init__(params, max_retries)
        self.spaces = {name: dict(space) for name, space in (spaces or {}).items()}
        if not self.spaces:
            raise InputError("hydra.sweeper.spaces is empty: give a space for each method")
        objectives = read_objectives(objective, None)
        if len(objectives) != 1:
            raise InputError("hydra.sweeper.objective: give one objective, not several")
        if make_sampler(sampler) is None:
            raise InputError("equal tuning needs a sampler that stops at n_trials: tpe or random")
        self.settings = Settings(objectives, sampler, n_trials, n_jobs, max_retries, storage)

    def carry_out(
        self, overrides: Sequence[Override], planner: Planner, table: Wanted
    ) -> list[dict[str, Any]]:
        """Search for each method, then run the winners."""
        from bench.sweep.jobs import different
        from bench.sweep.plan import show_plan

        finals = [o for o in overrides if o.get_key_element() != "method"]
        searches = {
            method: self._search(method, finals, planner, table)
            for method in self._methods(overrides)
        }
        trials = {method: search.check()[0] for method, search in searches.items()}
        store = planner.store(next(iter(trials.values())).experiment)
        studies = {method: search.open() for method, search in searches.items()}
        left = {method: searches[method].count - finished(studies[method]) for method in searches}
        runs = len(combinations(finals))
        if self.config.plan:
            (first, *_) = combinations(finals)
            hypothetical = planner.jobs([f"method={method}", *first] for method in searches)
            counts = [*left.values(), *([runs] * len(searches))]
            show_plan([*trials.values(), *hypothetical], store, self.config, counts)
            return []
        studies_of = [search.name for search in searches.values()]
        total = sum(left.values()) + runs * len(searches)
        launch = self.begin(store, table.name, studies_of, total, table)
        began = time.perf_counter()
        jobs: list[Job] = []
        ending = Ending()
        for method, search in searches.items():
            print(f"{method}: {left[method]} of {search.count} trials pending", flush=True)
            search.run(studies[method], launch)
            winner = self._winner(studies[method])
            if winner is None:
                jobs += [job for job in search.jobs.values() if job.failure is not None]
                print(f"{method}: no trial finished, so there is no winner", flush=True)
                continue
            chosen = [f"{key}={value}" for key, value in winner.params.items()]
            ending.remarks.append(self._remark(method, search, studies[method], winner, chosen))
            print(ending.remarks[-1], flush=True)
            jobs += planner.jobs([f"method={method}", *chosen, *c] for c in combinations(finals))
        jobs = different(jobs)
        if not jobs:
            raise Failure("no method has a winner")
        launch.run([job for job in jobs if job.unfinished], tries=1 + self.max_retries)
        return self.end(launch, jobs, began, table, ending)

    def _methods(self, overrides: Sequence[Override]) -> list[str]:
        """The methods to tune: those on the command line, else all that have a space."""
        named = [o for o in overrides if o.get_key_element() == "method"]
        if not named:
            return list(self.spaces)
        (override,) = named
        swept = override.is_sweep_override()
        methods = (
            list(override.sweep_string_iterator())
            if swept
            else [override.get_value_element_as_str()]
        )
        for method in methods:
            if method not in self.spaces:
                raise unknown("method with a space in hydra.sweeper.spaces", method, self.spaces)
        return methods

    def _search(
        self, method: str, finals: Sequence[Override], planner: Planner, table: Wanted
    ) -> Search:
        fixed = {
            override.get_key_element(): override.get_value_element_as_str()
            for override in finals
            if not override.is_sweep_override()
        }
        fixed |= {"method": method, "seed": str(SEED), "evaluation.split": "validation"}
        words = {**fixed, **self.spaces[method]}
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        space = read_space(
            parser.parse_overrides([f"{key}={value}" for key, value in words.items()]), grid=False
        )
        folder = results_folder(self.config.tracking.folder)
        return Search(f"{table.name}-{method}", space, self.settings, planner, folder)

    def _winner(self, study: Study) -> Any:
        found = [trial for trial, state in states(study) if state == "COMPLETE"]
        sign = 1 if self.settings.objectives[0].direction == "minimize" else -1
        return min(found, key=lambda trial: (sign * trial.values[0], trial.number), default=None)

    def _remark(
        self, method: str, search: Search, study: Study, winner: Any, chosen: Sequence[str]
    ) -> str:
        from bench.names import method_label

        over = " ".join(f"{key}={words}" for key, words in search.space.words.items())
        objective = self.settings.objectives[0]
        value = winner.values[0]
        return (
            f"{method_label(method)}: {finished(study)} trials ({self.settings.sampler_name}) over "
            f"{over}; chosen: {' '.join(chosen)} ({objective.name.replace('_', ' ')} {value:.4g})."
        )
