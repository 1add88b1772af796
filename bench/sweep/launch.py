"""Launches jobs; one whose process dies does not affect the others."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from bench.errors import Failure, InputError, Pruned, printable, reason, without_secrets
from bench.files import write_text

if TYPE_CHECKING:
    from bench.sweep.jobs import Job
    from bench.tracking.store import Store

# Environment variables of all processes of a command: how many runs its sweep has, when it began.
JOBS, BEGAN = "HYPLORA_BENCH_JOBS", "HYPLORA_BENCH_BEGAN"
WATCHDOG = "end with sweep"  # name of a thread
CHECK = 2.0  # seconds between two checks of whether the sweep still runs
DIED = "worker process died without an error message (killed?)"
# The extras that install Hydra's launchers.
EXTRAS = {"ray": "ray", "ray_aws": "ray", "submitit_local": "slurm", "submitit_slurm": "slurm"}


def began() -> float:
    """When the command began, in seconds since the epoch."""
    return float(os.environ[BEGAN])


def place_in_sweep() -> str:
    """`[4/9] ` in the fourth of nine runs of a sweep; empty in a single run.

    Runs beyond those planned, such as further rates of a tuning, have only a number.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or JOBS not in os.environ:
        return ""
    number, total = hydra.job.num + 1, int(os.environ[JOBS])
    return f"[{number}/{total}] " if number <= total else f"[{number}] "


class Launch:
    """Runs jobs with one of Hydra's launchers, and notes how each ended.

    Hydra's launchers return what each job returned or raised. If the process of a job dies they
    raise instead, and the results of the other jobs are lost, except in the tracking store. The
    jobs that had begun are then run again one at a time, which identifies the one that dies.
    """

    def __init__(self, launcher: Any, store: Store, parent: str, total: int) -> None:
        """`parent`: the id of the sweep's own run; `total`: of jobs, for `place_in_sweep`."""
        self.launcher, self.store, self.parent, self.launched = launcher, store, parent, 0
        os.environ[JOBS] = str(total)

    def run(self, jobs: Sequence[Job], tries: int = 1) -> None:
        """Run different jobs that are not cached. Each has a record or a failure afterwards.

        A job that fails is tried up to `tries` times, unless its input was refused or it diverged.

        Raises:
            Failure: the launcher failed before any job had begun.
        """
        for number in range(tries):
            waiting = [job for job in jobs if job.unfinished]
            if number > 0:  # what the try before left behind is no result of this one
                for job in waiting:
                    job.last = self.store.attempt(job.identity)
            while waiting and (error := self._launch(waiting)):
                left = [job for job in waiting if not self._has_ended(job)]
                attempts = [self.store.attempt(job.identity) for job in left]
                if attempts == [job.last for job in waiting]:
                    raise Failure(f"the launcher failed before any run began: {reason(error)}")
                begun = [
                    job
                    for job, attempt in zip(left, attempts, strict=True)
                    if attempt is not None and attempt.status == "RUNNING"
                ]
                for job in begun or left:
                    alone = self._launch([job])
                    if alone is not None and not self._has_ended(job):
                        self._record_death(job, alone)
                waiting = [job for job in left if job.record is None and job.failure is None]

    def _launch(self, jobs: Sequence[Job]) -> BaseException | None:
        """Launch jobs and note their results; returns what the launcher raised, if it did."""
        for job in jobs:
            job.failure = None
        overrides = [[*job.overrides, f"tracking.parent={self.parent}"] for job in jobs]
        try:
            returns = self.launcher.launch(overrides, initial_job_idx=self.launched)
        except KeyboardInterrupt:
            self._interrupted(jobs)
            raise
        except (Exception, SystemExit) as error:
            return error
        self.launched += len(jobs)
        for job, result in zip(jobs, returns, strict=True):
            if result.status == JobStatus.COMPLETED:
                job.record, job.found = result.return_value["record"], result.return_value["found"]
            else:
                raised = result._return_value
                job.failure = printable(reason(raised))
                job.refused, job.pruned = isinstance(raised, InputError), isinstance(raised, Pruned)
        return None

    def _has_ended(self, job: Job) -> bool:
        """Whether a launched job has ended according to the store, whose result it then takes."""
        attempt = self.store.attempt(job.identity)
        if attempt is None or (job.last is not None and attempt.began == job.last.began):
            return False
        if attempt.status == "FINISHED":
            job.record = self.store.record(attempt.run_id)
        elif attempt.status == "FAILED":
            job.failure = attempt.failure.strip().rpartition("\n")[2]
            job.refused = InputError.__name__ in job.failure
        return attempt.status in ("FINISHED", "FAILED")

    def _record_death(self, job: Job, error: BaseException) -> None:
        codes = [line.strip() for line in str(error).splitlines() if "exit codes" in line]
        job.failure = ": ".join([DIED, *codes])
        job.folder.mkdir(parents=True, exist_ok=True)
        write_text(job.folder / "failure.txt", printable(f"{job.failure}\n\n{error}\n"))
        self._fail_running(job, "FAILED", job.failure)

    def _interrupted(self, jobs: Sequence[Job]) -> None:
        """After Ctrl-C: end joblib's workers; mark their runs as killed."""
        if "joblib" in type(self.launcher).__module__:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True, kill_workers=True)
        for job in jobs:
            self._fail_running(job, "KILLED", "interrupted with its sweep")

    def _fail_running(self, job: Job, status: str, failure: str) -> None:
        attempt = self.store.attempt(job.identity)
        if attempt is not None and attempt.status == "RUNNING":  # not one that finished before
            self.store.fail(attempt.run_id, status, failure)


def at_once(config: DictConfig) -> int:
    """How many jobs the launcher runs at a time; 1 if it does not say."""
    for key in ("n_jobs", "array_parallelism", "ray.init.num_cpus"):
        value = OmegaConf.select(config.hydra.launcher, key)
        if isinstance(value, int) and value:
            return value if value > 0 else max(1, (os.cpu_count() or 1) + 1 + value)
    return 1


def end_with_sweep(pid: int) -> None:
    """End this process, if it is a worker of joblib, soon after the sweep with this pid has ended.

    joblib's own workers notice it only when they are idle.
    """
    if os.getpid() == pid or multiprocessing.current_process().name == "MainProcess":
        return  # the sweep itself, or a job of another launcher, which outlives it
    if not any(thread.name == WATCHDOG for thread in threading.enumerate()):
        threading.Thread(target=_end_with, args=(pid,), name=WATCHDOG, daemon=True).start()


def _end_with(pid: int) -> None:
    while os.getppid() == pid:
        time.sleep(CHECK)
    os.kill(os.getpid(), signal.SIGKILL)


def portable(error: Exception) -> Exception:
    """The error, or a `Failure` with its message if it can't be pickled and read back.

    Workers send their errors to the sweep pickled. One that can't be read back would end the whole
    sweep.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return Failure(f"{type(error).__name__}: {error}")
    return error


class JobFiles(Callback):
    """Puts submitit's job files into the results folder, and masks secrets in Hydra's files.

    conf/ can't set the folder: it has no file for a launcher that may not be installed.
    """

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Mask what Hydra has written, if it was asked to by `hydra.output_subdir`."""
        if (subdir := config.hydra.output_subdir) is not None:
            for path in (Path(config.hydra.runtime.output_dir) / subdir).glob("*.yaml"):
                write_text(path, without_secrets(path.read_text(encoding="utf-8")))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Set the folder, unless the command line or a preset does."""
        from bench.config import from_project

        launcher = OmegaConf.to_container(config.hydra.launcher, resolve=False)
        stock = "${hydra.sweep.dir}/.submitit/%j"
        if isinstance(launcher, dict) and launcher.get("submitit_folder") == stock:
            with open_dict(config.hydra.launcher):
                folder = from_project(config.tracking.folder) / "submitit" / "%j"
                config.hydra.launcher.submitit_folder = str(folder)
