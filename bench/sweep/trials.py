"""The trials of a study, as a queue that several processes take from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from filelock import FileLock
from optuna.trial import TrialState

from bench.sweep.study import GRACE, Worker

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

    from bench.sweep.space import Space

NOWHERE = "{}"  # the point of a trial whose process was killed before it had one


class Trials:
    """The queue.

    Each point is run once. If its process died or its command was stopped it is run again, which
    does not count as a retry; a point that failed is retried, in a later command anew.
    """

    def __init__(
        self, study: Study, space: Space, points: list[dict[str, Any]] | None, count: int,
        max_retries: int, worker: Worker, lock: Path,
        sampler: Callable[[int], BaseSampler | None],
    ) -> None:  # fmt: skip
        """Prepare.

        Args:
            study: of the search.
            space: that is searched in.
            points: of a grid; None if a sampler chooses.
            count: number of points.
            max_retries: how often a failed point is tried again.
            worker: this process.
            lock: a file that the processes on the study lock to take a trial.
            sampler: makes the sampler after a number of trials.
        """
        self.sampler = sampler
        self.study, self.space, self.points, self.count = study, space, points, count
        self.max_retries, self.worker, self.lock = max_retries, worker, lock
        self.began = time.time()

    def take(self) -> Trial | None:
        """The next trial to run; None if there is none now."""
        with FileLock(self.lock):
            self._return_lost()
            while True:
                trials = self.study.get_trials(deepcopy=False)
                waiting = any(trial.state == TrialState.WAITING for trial in trials)
                params, wanted = self._next(trials)
                if not waiting and not wanted:
                    return None
                if not waiting and params is not None:
                    attributes = {"point": _key(params), "worker": self.worker.name}
                    self.study.enqueue_trial(params, user_attrs=attributes)
                elif (sampler := self.sampler(len(trials))) is not None:
                    self.study.sampler = sampler
                trial = self.study.ask(self.space.distributions)
                trial.set_user_attr("worker", self.worker.name)
                trial.set_user_attr("point", _key(trial.params))
                if self._is_mine(trial):
                    return trial

    def others_at_work(self) -> bool:
        """Whether another process runs a trial that might return to the queue."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(trial.user_attrs.get("worker") != self.worker.name for trial in running)

    def complete(self, trial: Trial, values: Sequence[float], identity: str) -> None:
        """Record the values of a trial."""
        trial.set_user_attr("identity", identity)
        self.study.tell(trial, list(values), skip_if_finished=True)

    def prune(self, trial: Trial) -> None:
        """Record that a trial was pruned."""
        self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)

    def fail(self, trial: Trial, reason: str, final: bool = False) -> None:
        """Record that a trial failed; this command does not retry a final failure."""
        trial.set_user_attr("reason", reason)
        self._close(trial, {"failed": time.time(), "final": final})

    def give_back(self, trial: Trial) -> None:
        """Return a trial that this process can't finish."""
        self._close(trial, {"lost": True})

    def _close(self, trial: Trial, attributes: Mapping[str, Any]) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        with suppress(UpdateFinishedTrialError):  # another process returned it
            for key, value in attributes.items():
                trial.set_user_attr(key, value)
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def _next(self, trials: Sequence[FrozenTrial]) -> tuple[dict[str, Any] | None, bool]:
        """The next params, None if the sampler chooses them; and whether there are any."""
        by_point: dict[str, list[FrozenTrial]] = {}
        for trial in trials:
            by_point.setdefault(_point(trial), []).append(trial)
        exhausted = 0
        for point, tried in by_point.items():
            if point == NOWHERE or any(trial.state != TrialState.FAIL for trial in tried):
                continue
            failures = [
                t.user_attrs for t in tried if float(t.user_attrs.get("failed", 0.0)) >= self.began
            ]
            final = any(failure.get("final") for failure in failures)
            if not final and len(failures) <= self.max_retries:
                return json.loads(point), True
            exhausted += 1
        if self.points is not None:
            for params in self.points:
                if _key(params) not in by_point:
                    return params, True
            return None, False
        taken = sum(trial.state != TrialState.FAIL for trial in trials)
        return None, taken + exhausted < self.count

    def _is_mine(self, trial: Trial) -> bool:
        """Whether no other process took the same point first, if they share no lock."""
        if self.points is None:
            return True
        same = [
            t.number
            for t in self.study.get_trials(deepcopy=False)
            if _point(t) == _key(trial.params) and t.state != TrialState.FAIL
        ]
        if min(same) < trial.number:
            self._close(trial, {"lost": True})
            return False
        return True

    def _return_lost(self) -> None:
        """Return the trials whose process is dead."""
        signs = self.study.user_attrs
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            worker = trial.user_attrs.get("worker")
            if worker is None and trial.datetime_start is not None:
                # Killed between two lines of `take`, or still there on another machine.
                dead = time.time() - trial.datetime_start.timestamp() > GRACE
            else:
                dead = not self.worker.sees(str(worker), signs)
            if dead:
                self.give_back(optuna.trial.Trial(self.study, trial._trial_id))


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True)


def _point(trial: FrozenTrial) -> str:
    return trial.user_attrs.get("point") or _key(trial.params)
