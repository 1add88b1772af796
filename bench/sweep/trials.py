"""The trials of a study, as a queue that several processes take from."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna import Study
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from bench.files import locked
from bench.sweep.space import Space, make_sampler
from bench.sweep.study import GRACE, is_alive

BEAT = 20.0  # seconds between two heartbeats


class Trials:
    """The queue: Optuna's waiting trials, and then those that its sampler chooses.

    Each point is run once. If its process died or its command was stopped it is queued again, which
    does not count as a retry; a point that failed is retried, and again by a later command. As a
    context manager, it sends a heartbeat that tells other processes that `worker` is alive.
    """

    def __init__(
        self, study: Study, space: Space, points: list[dict[str, Any]] | None, count: int,
        max_retries: int, lock: Path, sampler: Any,
    ) -> None:  # fmt: skip
        """Queue the points of a grid that were not tried, and those that only failed.

        Args:
            points: of a grid; None if a sampler chooses.
            count: number of points.
            max_retries: how often a failed point is tried again.
            lock: a file that all processes lock to take a trial, whatever their study.
            sampler: as configured, see `make_sampler`.
        """
        self.study, self.space, self.points, self.count = study, space, points, count
        self.finite = space.finite_points() if points is None else None
        self.max_retries, self.lock, self.sampler = max_retries, lock, sampler
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.ended = threading.Event()
        self.heart = threading.Thread(target=self._beat, daemon=True)
        with self._locked():
            tried: dict[str, bool] = {}  # whether another state than a failure is known
            for trial in study.get_trials(deepcopy=False):
                if point := point_of(trial):
                    tried[point] = tried.get(point, False) or trial.state != TrialState.FAIL
            for params in points or ():
                if _key(params) not in tried:
                    self._queue(_key(params))
            for point, known in tried.items():
                if not known:
                    self._queue(point, again=True)

    def __enter__(self) -> Trials:
        self.study.set_user_attr(f"alive {self.worker}", time.time())
        self.heart.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.heart.join()

    def _beat(self) -> None:
        while not self.ended.wait(BEAT):
            with suppress(Exception):  # a storage that fails for a moment ends no search
                self.study.set_user_attr(f"alive {self.worker}", time.time())

    def take(self) -> Trial | None:
        """The next trial to run; None if there is none now."""
        with self._locked():
            self._return_lost()
            trials = self.study.get_trials(deepcopy=False)
            if not any(trial.state == TrialState.WAITING for trial in trials):
                # A trial without a point was lost before it had one.
                first = [t for t in trials if self._counts(t)]
                if self.points is not None or len(first) >= self.count:
                    return None
                self.study.sampler = make_sampler(self.sampler, len(trials))
            trial = self._ask()
            points = {point_of(t) for t in trials}
            if trial.user_attrs.get("point") is None and _key(trial.params) in points:
                # Runs are deterministic, so a point is repeated only if there is no other.
                untried = [p for p in self.finite or () if _key(p) not in points]
                if untried:
                    self._close(trial, "repeats", True)
                    self._queue(_key(random.Random(len(trials)).choice(untried)))
                    trial = self._ask()
            trial.set_user_attr("point", _key(trial.params))
            return trial

    def others_at_work(self) -> list[str]:
        """Other processes, with their hosts, that run a trial that might return to the queue."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        workers = {str(trial.user_attrs.get("worker")) for trial in running} - {self.worker}
        names = [worker.split(":") for worker in sorted(workers)]
        return [f"{name[1]} on {name[0]}" if len(name) > 1 else "unknown" for name in names]

    def complete(self, trial: Trial, values: Sequence[float], identity: str) -> None:
        """Record the values of a trial."""
        with suppress(UpdateFinishedTrialError):  # another process took it over
            trial.set_user_attr("identity", identity)
            self.study.tell(trial, list(values), skip_if_finished=True)

    def prune(self, trial: Trial) -> None:
        """Record that a trial was pruned."""
        self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)

    def fail(self, trial: Trial, reason: str, final: bool = False) -> None:
        """Record that a trial failed, and queue it again unless that is final for this command."""
        failures = trial.user_attrs.get("failures", 0) + 1
        if self._close(trial, "reason", reason) and not final and failures <= self.max_retries:
            self._queue(_key(trial.params), again=True, failures=failures)

    def give_back(self, trial: Trial) -> None:
        """Requeue a trial that its process can't finish."""
        if self._close(trial, "lost", True) and trial.params:
            failures = trial.user_attrs.get("failures", 0)
            self._queue(_key(trial.params), again=True, failures=failures)

    def _counts(self, trial: FrozenTrial) -> bool:
        """Whether a trial is one of the `count`: neither a repetition nor a retry."""
        lost = trial.user_attrs.get("repeats") or point_of(trial) is None
        return not lost and not trial.user_attrs.get("again")

    def _ask(self) -> Trial:
        trial = self.study.ask(self.space.distributions)
        trial.set_user_attr("worker", self.worker)
        return trial

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.lock, "Optuna's studies")

    def _close(self, trial: Trial, key: str, value: Any) -> bool:
        """End a trial as failed; False if another process has ended it."""
        try:
            trial.set_user_attr(key, value)
        except UpdateFinishedTrialError:
            return False
        self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        return True

    def _queue(self, point: str, **attributes: Any) -> None:
        self.study.enqueue_trial(json.loads(point), user_attrs={"point": point, **attributes})

    def _return_lost(self) -> None:
        """Queue trials again if their process is dead."""
        attributes = self.study.user_attrs
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = trial.user_attrs.get("worker")
            if worker is None and trial.datetime_start is not None:
                # Killed between two lines of `take`, or still there on another machine.
                dead = time.time() - trial.datetime_start.timestamp() > GRACE
            else:
                dead = not is_alive(str(worker), attributes)
            if dead:
                self.give_back(optuna.trial.Trial(self.study, trial._trial_id))


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True)


def point_of(trial: FrozenTrial) -> str | None:
    """The point of a trial, as JSON; None if its process was killed before it had one."""
    return trial.user_attrs.get("point") or (_key(trial.params) if trial.params else None)
