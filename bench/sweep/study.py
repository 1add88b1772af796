"""An Optuna study that several processes share and resume."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from bench.errors import InputError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

    from bench.sweep.space import Space

BEAT = 20.0  # seconds between two heartbeats
GRACE = 120.0  # seconds without one after which a process counts as dead
NOWHERE = "{}"  # the point of a trial whose process was killed before it had one
PATIENCE = 60.0  # seconds to wait for a database's lock


def open_storage(url: str) -> BaseStorage:
    """The storage of a URL: sqlite:///, postgresql://, or journal:/// for a file on a shared disk.

    Raises:
        InputError: it can't be reached, or its driver is not installed.
    """
    import optuna
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if url.startswith("journal:///"):
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            return JournalStorage(JournalFileBackend(url.removeprefix("journal://")))
        connect: dict[str, Any] = {}
        if url.startswith("sqlite"):
            connect = {"timeout": PATIENCE}
        elif url.startswith("postgresql"):
            connect = {"connect_timeout": 10}
        settings = {"connect_args": connect, "pool_pre_ping": True}
        return optuna.storages.RDBStorage(url, engine_kwargs=settings)
    except ImportError as error:
        hint = ": .venv/bin/pip install -e '.[postgres]'" if "postgresql" in url else ""
        raise InputError(
            f"storage {_public(url)}: its driver is missing{hint} ({error})"
        ) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise InputError(
            f"storage {_public(url)} is not the address of a database: write sqlite:///FILE, "
            "postgresql://HOST/DATABASE or journal:///FILE"
        ) from error
    except (SQLAlchemyError, StorageInternalError, OSError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"storage {_public(url)} can't be used: {first}") from error


def open_study(
    url: str,
    name: str,
    directions: Sequence[str],
    facts: Mapping[str, Any],
    lock: Path,
    pruner: BasePruner | None = None,
) -> Study:
    """The study of a search, created if it does not exist.

    Args:
        url: of its storage.
        name: of the study.
        directions: one for each objective.
        facts: what distinguishes this search from another; a study of other facts is refused.
        lock: a file that the processes on this study lock.
        pruner: Optuna's.

    Raises:
        InputError: the storage can't be used, or the study is of another search.
    """
    import optuna

    text = json.dumps(facts, sort_keys=True)
    with FileLock(lock):
        study = optuna.create_study(
            storage=open_storage(url),
            study_name=name,
            directions=list(directions),
            load_if_exists=True,
            pruner=pruner,
        )
        there = study.user_attrs.get("facts")
        if there is None:
            study.set_user_attr("facts", text)
    if there not in (None, text) or [d.name.lower() for d in study.directions] != list(directions):
        known = json.loads(there) if there else {}
        unlike = sorted(key for key in {**known, **facts} if known.get(key) != facts.get(key))
        shown = "; ".join(f"{key}: {known.get(key)} there, {facts.get(key)} here" for key in unlike)
        raise InputError(
            f"the study '{name}' in {_public(url)} is of another search ({shown}): give "
            "hydra.sweeper.study_name=ANOTHER, or leave it out"
        )
    return study


class Worker:
    """This process as the others on the study see it: a name and a heartbeat."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Worker:
        self.study.set_user_attr(f"alive {self.name}", time.time())
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopped.set()
        self.thread.join()

    def _beat(self) -> None:
        while not self.stopped.wait(BEAT):
            with suppress(Exception):  # a storage that fails for a moment ends no search
                self.study.set_user_attr(f"alive {self.name}", time.time())

    def sees(self, name: str, signs: Mapping[str, Any]) -> bool:
        """Whether a process is alive."""
        host, pid, _ = name.split(":")
        if host == socket.gethostname() and not _exists(int(pid)):
            return False
        return time.time() - float(signs.get(f"alive {name}", 0.0)) < GRACE


class Trials:
    """The trials of a study as a queue that several processes take from.

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
        from optuna.trial import TrialState

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
        from optuna.trial import TrialState

        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(trial.user_attrs.get("worker") != self.worker.name for trial in running)

    def complete(self, trial: Trial, values: Sequence[float], identity: str) -> None:
        """Record the values of a trial."""
        trial.set_user_attr("identity", identity)
        self.study.tell(trial, list(values), skip_if_finished=True)

    def prune(self, trial: Trial) -> None:
        """Record that a trial was pruned."""
        from optuna.trial import TrialState

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
        from optuna.trial import TrialState

        with suppress(UpdateFinishedTrialError):  # another process returned it
            for key, value in attributes.items():
                trial.set_user_attr(key, value)
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def _next(self, trials: Sequence[FrozenTrial]) -> tuple[dict[str, Any] | None, bool]:
        """The next params, None if the sampler chooses them; and whether there are any."""
        from optuna.trial import TrialState

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
        from optuna.trial import TrialState

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
        import optuna

        signs = self.study.user_attrs
        running = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
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


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _public(url: str) -> str:
    """A URL without its password."""
    from sqlalchemy.engine import make_url

    with suppress(Exception):
        return make_url(url).render_as_string(hide_password=True)
    return url.rpartition("@")[2]
