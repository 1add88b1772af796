"""Equal tuning of all methods: searches for each on validation rows, then the winners on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from bench.errors import Failure, InputError, unknown
from bench.names import method_label
from bench.sweep.jobs import Job, different
from bench.sweep.search import Search, Settings, finished, states
from bench.sweep.space import as_overrides, read_space
from bench.sweep.sweep import Sweep, combinations, failure_lines

# Trials have their own seeds, from this one on, so that no run of a search is one of the table's.
SEED = 1000


class TunedSweep(Sweep):
    """`hydra/sweeper=tuned`.

    For each method and each seed of the table there is one search, on validation rows, of the same
    number of trials over the method's space. Only its best point is then run on the test rows, with
    that seed. So a method's runs are independent, and their variance includes that of searches.
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
        combined = combinations(self.others)
        if unlike := [key for key in self.swept if key not in ("method", "seed")]:
            raise InputError(
                f"equal tuning varies methods and seeds, not {', '.join(unlike)}: give one "
                "value per command"
            )
        methods = self._methods()
        finals = {self._seed(methods[0], final): final for final in combined}
        searches = [
            (method, seed, self._search(method, seed)) for method in methods for seed in finals
        ]
        left = [search.left() for *_, search in searches]
        if self.config.plan:
            trials = [search.known[0] for *_, search in searches]
            first = next(iter(finals.values()))
            winners = self.planner.jobs([f"method={method}", *first] for method in methods)
            pending = dict.fromkeys(methods, 0)
            for (method, seed, search), trials_left in zip(searches, left, strict=True):
                winner = self._winner(search.study)
                if trials_left or (winner and self._final(method, seed, winner, finals).unfinished):
                    pending[method] += 1
            self.plan([*trials, *winners], [*left, *pending.values()])
            return []
        total = sum(left) + len(searches)
        launch = self.begin(self.spec.name, [search.name for *_, search in searches], total)
        tuning = {
            "file": None,
            "tries": len(finals) * self.settings.n_trials,
            "seeds": [SEED + seed for seed in finals],
        }
        jobs: list[Job] = []
        lost: list[Job] = []  # trials of a search without a winner
        best: dict[str, list[str]] = {}
        for method, seed, search in searches:
            name = f"{method} seed {seed}"
            print(f"{name}: {search.left()} of {search.count} trials pending", flush=True)
            search.run(launch)
            if winner := self._winner(search.study):
                best.setdefault(method, []).append(self._shown(winner))
                print(f"{name}: best {best[method][-1]}", flush=True)
                job = self._final(method, seed, winner, finals)
                job.planned["tuning"] = tuning
                jobs.append(job)
            else:
                print(f"{name}: no trial finished, so there is no winner", flush=True)
                lost += [j for j in search.jobs.values() if j.failure is not None and not j.pruned]
        for method, shown in best.items():
            own = [search for other, _, search in searches if other == method]
            self.remarks.append(self._remark(method, own, shown))
        jobs = different(jobs)
        if not jobs:
            raise Failure("no method has a winner" + (f"\n{failure_lines(lost)}" if lost else ""))
        launch.run([job for job in jobs if job.unfinished], tries=1 + self.max_retries)
        return self.end(jobs, lost)

    def _final(
        self, method: str, seed: int, winner: FrozenTrial, finals: Mapping[int, Sequence[str]]
    ) -> Job:
        """The run of a search's winner on the test problems."""
        words = [f"method={method}", *as_overrides(winner.params)]
        return self.planner.job([*words, *finals[seed]], [*words, f"seed={seed}"])

    def _methods(self) -> list[str]:
        """The methods to tune: those on the command line, else all that have a space."""
        named = [o for o in self.overrides if o.get_key_element() == "method"]
        methods = [method for o in named for method in _values(o)] or list(self.spaces)
        for method in methods:
            if method not in self.spaces:
                raise unknown("method with a space in hydra.sweeper.spaces", method, self.spaces)
        return methods

    def _seed(self, method: str, final: Sequence[str]) -> int:
        return self.planner.job([f"method={method}", *final], []).planned["seed"]

    def _search(self, method: str, seed: int) -> Search:
        fixed = {
            override.get_key_element(): override.get_value_element_as_str()
            for override in self.others
            if not override.is_sweep_override()
        }
        fixed |= {"method": method, "seed": str(SEED + seed), "evaluation.split": self.split}
        words = as_overrides({**fixed, **self.spaces[method]})
        space = read_space(self.parser.parse_overrides(words), grid=False)
        sampler = self.settings.sampler
        sampler = sampler if isinstance(sampler, str) else {**sampler, "seed": seed}
        settings = replace(self.settings, sampler=sampler)
        return Search(f"{self.spec.name}-{method}", space, settings, self.planner)

    def _winner(self, study: Study) -> FrozenTrial | None:
        found = [trial for trial, state in states(study) if state == "COMPLETE"]
        sign = 1 if self.settings.objectives[0].direction == "minimize" else -1
        return min(found, key=lambda trial: (sign * trial.values[0], trial.number), default=None)

    def _shown(self, winner: FrozenTrial) -> str:
        params = {
            key: float(f"{value:.4g}") if isinstance(value, float) else value
            for key, value in winner.params.items()
        }
        name = self.settings.objectives[0].name.replace("_", " ")
        return f"{' '.join(as_overrides(params))} ({name} {winner.values[0]:.4g})"

    def _remark(self, method: str, searches: Sequence[Search], best: Sequence[str]) -> str:
        trials = sum(finished(search.study) for search in searches)
        over = " ".join(as_overrides(searches[0].space.expressions))
        return (
            f"{method_label(method)}: {trials} trials of {len(searches)} "
            f"search{'es' * (len(searches) > 1)} ({self.settings.sampler_name}) over {over}. "
            f"Best: {'; '.join(best)}."
        )


def _values(override: Any) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]
