"""Launches jobs so that one whose process dies takes no other with it."""

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

JOBS = "HYPLORA_BENCH_JOBS"  # how many runs the sweep has; its workers inherit it
DIED = "worker process died without an error message (killed?)"


def place_in_sweep() -> str:
    """`[4/9] ` in the fourth of nine runs of a sweep; empty in a single run."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or JOBS not in os.environ:
        return ""
    return f"[{hydra.job.num + 1}/{os.environ[JOBS]}] "


class Launch:
    """One of Hydra's launchers, and what is known of the jobs that it is given.

    Hydra's launchers return what each job returned or raised. If the process of a job dies they
    raise instead, and the results of the other jobs are lost, except in the tracking store. The
    jobs that had begun are then run again one at a time, which identifies the one that dies.
    """

    def __init__(self, launcher: Any, store: Store, parent: str, total: int) -> None:
        """Prepare.

        Args:
            launcher: Hydra's.
            store: that the runs are recorded in.
            parent: the store's id of the sweep's own run.
            total: number of jobs that will be given, for `place_in_sweep`.
        """
        self.launcher, self.store, self.parent, self.given = launcher, store, parent, 0
        os.environ[JOBS] = str(total)

    def run(self, jobs: Sequence[Job], tries: int = 1) -> None:
        """Run jobs. Each has a record or a failure afterwards.

        Args:
            jobs: different runs that are not cached.
            tries: how often a job is tried that fails for another reason than its input.

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
        """Launch jobs and note their results; returns what the launcher raised, if it did."""
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
        """Take over how a launched job ended from the store, if it is known there."""
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
        """Whether no job has begun since it was planned: then the launcher itself failed."""
        return all(self.store.attempt(job.identity) == job.last for job in jobs)

    def _bury(self, job: Job, error: BaseException) -> None:
        codes = [line.strip() for line in str(error).splitlines() if "exit codes" in line]
        job.failure = ": ".join([DIED, *codes])
        job.folder.mkdir(parents=True, exist_ok=True)
        write_text(job.folder / "failure.txt", f"{job.failure}\n\n{error}\n")
        attempt = self.store.attempt(job.identity)
        if attempt is not None:
            self.store.fail(attempt.run_id, "FAILED", job.failure)

    def _interrupted(self, jobs: Sequence[Job]) -> None:
        """After Ctrl-C: end joblib's workers; mark their runs and the sweep as killed."""
        if "joblib" in type(self.launcher).__module__:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True, kill_workers=True)
        for job in jobs:
            attempt = self.store.attempt(job.identity)
            if attempt is not None and attempt.status == "RUNNING":
                self.store.fail(attempt.run_id, "KILLED", "interrupted with its sweep")
        self.store.fail(self.parent, "KILLED", "interrupted")


def at_once(config: DictConfig) -> int:
    """How many jobs the launcher runs at a time; 1 if it does not say."""
    launcher = config.hydra.launcher
    for key in ("n_jobs", "array_parallelism", "ray.init.num_cpus"):
        value = OmegaConf.select(launcher, key)
        if isinstance(value, int) and value:
            return value if value > 0 else max(1, (os.cpu_count() or 1) + 1 + value)
    return 1


@contextmanager
def ended_by_sigterm(*others: int) -> Iterator[None]:
    """Make SIGTERM end the block as Ctrl-C does: workers are ended, their runs marked.

    Args:
        others: further signals that do.
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
