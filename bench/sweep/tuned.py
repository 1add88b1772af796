"""Equal tuning of all methods: a search for each on validation rows, then the winners on test."""

from __future__ import annotations

from typing import Any

from optuna import Study

from bench.errors import Failure, InputError, unknown
from bench.names import method_label
from bench.sweep.jobs import Job, different
from bench.sweep.search import Search, Settings, finished, states
from bench.sweep.space import chosen, read_space
from bench.sweep.sweep import Sweep, combinations

# Trials have their own seed, so that no run of a search is one of the table's.
SEED = 1000


class TunedSweep(Sweep):
    """`hydra/sweeper=tuned`.

    Every method has the same number of trials over its own space, evaluated on validation rows.
    Only the best point of each is then run with the seeds of the table on the test rows.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        settings = dict(self.given)
        self.spaces: dict[str, dict[str, str]] = settings.pop("spaces") or {}
        if not self.spaces:
            raise InputError("hydra.sweeper.spaces is empty: give a space for each method")
        self.settings = Settings(**settings)
        if len(self.settings.objectives) != 1:
            raise InputError("hydra.sweeper.objective: give one objective, not several")
        on_loss = self.settings.objectives[0].name == "validation_loss"
        self.split = "none" if on_loss else "validation"
        if self.settings.enumerates:
            raise InputError("equal tuning needs a sampler that stops at n_trials: tpe or random")

    def run_jobs(self) -> list[dict[str, Any]]:
        """Search for each method, then run the winners."""
        # What all runs share, and the seeds of the winners.
        self.others = [o for o in self.overrides if o.get_key_element() != "method"]
        finals = combinations(self.others)
        searches = {method: self._search(method) for method in self._methods()}
        trials = [search.check()[0] for search in searches.values()]
        store = self.planner.store(trials[0].experiment)
        studies = {method: search.open() for method, search in searches.items()}
        left = {m: search.count - finished(studies[m]) for m, search in searches.items()}
        if self.config.plan:
            from bench.sweep.plan import show_plan

            winners = self.planner.jobs([f"method={method}", *finals[0]] for method in searches)
            counts = [*left.values(), *([len(finals)] * len(searches))]
            show_plan([*trials, *winners], store, self.config, counts)
            return []
        total = sum(left.values()) + len(finals) * len(searches)
        names = [search.name for search in searches.values()]
        launch = self.begin(store, self.spec.name, names, total)
        jobs: list[Job] = []
        for method, search in searches.items():
            print(f"{method}: {left[method]} of {search.count} trials pending", flush=True)
            search.run(studies[method], launch)
            winner = self._winner(studies[method])
            if winner is None:
                jobs += [job for job in search.jobs.values() if job.failure is not None]
                print(f"{method}: no trial finished, so there is no winner", flush=True)
                continue
            words = chosen(winner.params)
            self._remark(method, search, studies[method], winner, words)
            jobs += self.planner.jobs([f"method={method}", *words, *final] for final in finals)
        jobs = different(jobs)
        if not jobs:
            raise Failure("no method has a winner")
        launch.run([job for job in jobs if job.unfinished], tries=1 + self.max_retries)
        return self.end(launch, jobs)

    def _methods(self) -> list[str]:
        """The methods to tune: those on the command line, else all that have a space."""
        named = [o for o in self.overrides if o.get_key_element() == "method"]
        methods = [method for o in named for method in _values(o)] or list(self.spaces)
        for method in methods:
            if method not in self.spaces:
                raise unknown("method with a space in hydra.sweeper.spaces", method, self.spaces)
        return methods

    def _search(self, method: str) -> Search:
        fixed = {
            override.get_key_element(): override.get_value_element_as_str()
            for override in self.others
            if not override.is_sweep_override()
        }
        fixed |= {"method": method, "seed": str(SEED), "evaluation.split": self.split}
        words = chosen({**fixed, **self.spaces[method]})
        space = read_space(self.parser.parse_overrides(words), grid=False)
        title = f"{self.spec.name}-{method}"
        return Search(title, space, self.settings, self.planner, self.results)

    def _winner(self, study: Study) -> Any:
        found = [trial for trial, state in states(study) if state == "COMPLETE"]
        sign = 1 if self.settings.objectives[0].direction == "minimize" else -1
        return min(found, key=lambda trial: (sign * trial.values[0], trial.number), default=None)

    def _remark(
        self, method: str, search: Search, study: Study, winner: Any, words: list[str]
    ) -> None:
        over = " ".join(chosen(search.space.expressions))
        trials = f"{finished(study)} trials ({self.settings.sampler_name}) over {over}"
        value = f"{self.settings.objectives[0].name.replace('_', ' ')} {winner.values[0]:.4g}"
        self.remarks.append(
            f"{method_label(method)}: {trials}; chosen: {' '.join(words)} ({value})."
        )
        print(self.remarks[-1], flush=True)


def _values(override: Any) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]
