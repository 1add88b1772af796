"""Launching jobs so that one which dies takes none of the others with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bench.errors import Failure, InputError, Pruned, Terminated
from bench.files import write_text

if TYPE_CHECKING:
    from bench.sweep.jobs import Job
    from bench.tracking.store import Store

JOBS = "HYPLORA_BENCH_JOBS"  # how many runs the sweep at work has; its workers inherit it
DIED = (
    "its process ended without a word: killed, out of memory (the system's log tells), out of "
    "time, or ended by the code it ran."
)


def place_in_sweep() -> str:
    """`[4/9] ` in the fourth of nine runs of a sweep; empty in a single run."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or JOBS not in os.environ:
        return ""
    return f"[{hydra.job.num + 1}/{os.environ[JOBS]}] "


class Launch:
    """A launcher of Hydra's, and what is known of the jobs that are given to it.

    Hydra's launchers return what each job returned or raised. Where the process of a job dies they
    raise instead, and what became of the other jobs is lost with it. It stands in the tracking
    store: the jobs that had begun are then run again one at a time, which names the one that dies.
    """

    def __init__(self, launcher: Any, store: Store, parent: str, total: int) -> None:
        """Prepare.

        Args:
            launcher: of Hydra's.
            store: that the runs are recorded in.
            parent: the store's id of the sweep's own run.
            total: of the jobs that are going to be given, for `place_in_sweep`.
        """
        self.launcher, self.store, self.parent, self.given = launcher, store, parent, 0
        os.environ[JOBS] = str(total)

    def run(self, jobs: Sequence[Job], tries: int = 1) -> None:
        """Run jobs. Each has a record or a failure afterwards.

        Args:
            jobs: different runs that are not on record.
            tries: how often a job is tried that fails for another reason than what it was given.

        Raises:
            Failure: the launcher failed before any job had begun.
        """
        for _ in range(tries):
            self._round([job for job in jobs if job.unfinished])

    def _round(self, waiting: list[Job]) -> None:
        while waiting:
            error = self._launch(waiting)
            if error is None:
                return
            for job in waiting:
                self._salvage(job)
            waiting = [job for job in waiting if job.record is None and job.failure is None]
            begun = [job for job in waiting if self._begun(job)]
            if waiting and not begun and self._untouched(waiting):
                raise Failure(f"the launcher failed before any run began: {_first_line(error)}")
            for job in begun or waiting:
                alone = self._launch([job])
                if alone is not None and not self._salvage(job):
                    self._bury(job, alone)
            waiting = [job for job in waiting if job.record is None and job.failure is None]

    def _launch(self, jobs: Sequence[Job]) -> BaseException | None:
        """Launch jobs and note what came of each; what the launcher raised, if it did."""
        for job in jobs:
            job.failure = None
        overrides = [[*job.overrides, f"tracking.parent={self.parent}"] for job in jobs]
        try:
            returns = self.launcher.launch(overrides, initial_job_idx=self.given)
        except KeyboardInterrupt:
            self._interrupted(jobs)
            raise
        except (Exception, SystemExit) as error:
            return error
        self.given += len(jobs)
        for job, result in zip(jobs, returns, strict=True):
            if result.status == JobStatus.COMPLETED:
                job.record, job.found = result.return_value["record"], result.return_value["found"]
            else:
                raised = result._return_value
                job.failure = f"{type(raised).__name__}: {_first_line(raised)}"
                job.refused, job.pruned = isinstance(raised, InputError), isinstance(raised, Pruned)
        return None

    def _salvage(self, job: Job) -> bool:
        """Whether the store knows how a job ended that was launched; the job takes it over."""
        attempt = self.store.attempt(job.identity)
        if attempt is None or (job.last is not None and attempt.began == job.last.began):
            return False
        if attempt.status == "FINISHED":
            job.record = self.store.record(attempt.run_id)
        elif attempt.status == "FAILED":
            job.failure = attempt.failure.strip().rpartition("\n")[2]
            job.refused = InputError.__name__ in job.failure
        return attempt.status in ("FINISHED", "FAILED")

    def _begun(self, job: Job) -> bool:
        attempt = self.store.attempt(job.identity)
        return attempt is not None and attempt.status == "RUNNING"

    def _untouched(self, jobs: Sequence[Job]) -> bool:
        """Whether no job has begun since it was planned, so that the launcher is to blame."""
        return all(self.store.attempt(job.identity) == job.last for job in jobs)

    def _bury(self, job: Job, error: BaseException) -> None:
        codes = [line.strip() for line in str(error).splitlines() if "exit codes" in line]
        job.failure = " ".join([DIED, *codes])
        job.folder.mkdir(parents=True, exist_ok=True)
        write_text(job.folder / "failure.txt", f"{job.failure}\n\n{error}\n")
        attempt = self.store.attempt(job.identity)
        if attempt is not None:
            self.store.fail(attempt.run_id, "FAILED", job.failure)

    def _interrupted(self, jobs: Sequence[Job]) -> None:
        """After Ctrl-C: end joblib's workers; mark what they were at as killed, and the sweep."""
        if "joblib" in type(self.launcher).__module__:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True, kill_workers=True)
        for job in jobs:
            attempt = self.store.attempt(job.identity)
            if attempt is not None and attempt.status == "RUNNING":
                self.store.fail(attempt.run_id, "KILLED", "interrupted with its sweep")
        self.store.fail(self.parent, "KILLED", "interrupted")


def at_once(config: DictConfig) -> int:
    """How many jobs the launcher runs at a time; 1 where it does not say."""
    launcher = config.hydra.launcher
    for key in ("n_jobs", "array_parallelism", "ray.init.num_cpus"):
        value = OmegaConf.select(launcher, key)
        if isinstance(value, int) and value:
            return value if value > 0 else max(1, (os.cpu_count() or 1) + 1 + value)
    return 1


@contextmanager
def ended_by_sigterm(*others: int) -> Iterator[None]:
    """A SIGTERM ends what runs in the block as Ctrl-C does: workers are ended, their runs marked.

    Args:
        others: signals that do the same.
    """

    def end(*_: Any) -> None:
        raise Terminated("ended by SIGTERM")

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, *others)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0]
