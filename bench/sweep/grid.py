"""The grid of `-m` and `+sweep=NAME`: all combinations, each different run once."""

from __future__ import annotations

from typing import Any

from hydra.core.utils import JobStatus

from bench.errors import Failure, InputError
from bench.sweep.jobs import different
from bench.sweep.sweep import Sweep, combinations


class GridSweep(Sweep):
    """`hydra/sweeper=grid`, the default."""

    actions = ("finetune", "pretrain")

    def run(self) -> list[dict[str, Any]]:
        """Run what is missing and show all; of an action that leaves no records, run all."""
        return super().run() if self.config.action.name in self.actions else self._run_action()

    def run_jobs(self) -> list[dict[str, Any]]:
        """Plan all combinations, and run those that are not cached."""
        combined = self.planner.jobs(combinations(self.overrides))
        jobs = different(combined)
        missing = [job for job in jobs if job.record is None]
        over = f" over {', '.join(self.swept)}" if self.swept else ""
        print(
            f"{len(combined)} combinations{over}, {len(jobs)} different runs, "
            f"{len(jobs) - len(missing)} cached",
            flush=True,
        )
        if self.config.plan:
            self.plan(jobs)
            return []
        name = self.spec.name if self.written else "grid"
        launch = self.begin(name, [job.identity for job in jobs], len(missing), jobs)
        launch.run(missing, tries=1 + self.max_retries)
        return self.end(jobs)

    def _run_action(self) -> list[dict[str, Any]]:
        jobs = combinations(self.overrides)
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        failed = [
            (" ".join(job), result._return_value)
            for job, result in zip(jobs, returns, strict=True)
            if result.status != JobStatus.COMPLETED
        ]
        if failed:
            lines = [f"  {job}: {type(error).__name__}: {error}" for job, error in failed]
            refused = all(isinstance(error, InputError) for _, error in failed)
            if refused and len(jobs) == 1:
                raise failed[0][1]
            kind = InputError if refused and len(failed) == len(jobs) else Failure
            raise kind("\n".join([f"{len(failed)} of {len(jobs)} failed:", *lines]))
        return [result.return_value for result in returns]
