"""The grid of `-m` and `+sweep=NAME`: all combinations, each different run once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from hydra.core.utils import JobStatus

from bench.errors import Failure, InputError
from bench.sweep.sweeper import Ending, RunSweeper, swept

if TYPE_CHECKING:
    from bench.sweep.jobs import Planner
    from bench.sweep.show import Wanted


class GridSweeper(RunSweeper):
    """`hydra/sweeper=grid`, the default."""

    actions = ("finetune", "pretrain")

    def carry_out(
        self, overrides: Sequence[Override], planner: Planner, table: Wanted
    ) -> list[dict[str, Any]]:
        """Plan all combinations, and run those that are not cached."""
        from bench.sweep.jobs import different

        combined = planner.jobs(combinations(overrides))
        jobs = different(combined)
        over = f" over {', '.join(swept(overrides))}" if swept(overrides) else ""
        print(
            f"{len(combined)} combinations{over}, {len(jobs)} different runs, "
            f"{sum(job.found for job in jobs)} cached",
            flush=True,
        )
        store = planner.store(jobs[0].experiment)
        if self.config.plan:
            planner.show_plan(jobs, store)
            return []
        missing = [job for job in jobs if job.record is None]
        name = table.name if table.folder else "grid"
        identities = [job.identity for job in jobs]
        launch = self.begin(store, name, identities, len(missing), table, jobs)
        began = time.perf_counter()
        launch.run(missing, tries=1 + self.max_retries)
        return self.end(launch, jobs, began, table, Ending())

    def run_action(self, overrides: Sequence[Override]) -> list[dict[str, Any]]:
        """Run an action that leaves no records with all combinations."""
        jobs = combinations(overrides)
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        failed = [
            (" ".join(job), result._return_value)
            for job, result in zip(jobs, returns, strict=True)
            if result.status != JobStatus.COMPLETED
        ]
        if failed:
            lines = [f"  {job}: {type(error).__name__}: {error}" for job, error in failed]
            refused = all(isinstance(error, InputError) for _, error in failed)
            kind = InputError if refused and len(failed) == len(jobs) else Failure
            raise kind("\n".join([f"{len(failed)} of {len(jobs)} failed:", *lines]))
        return [result.return_value for result in returns]


def combinations(overrides: Sequence[Override]) -> list[list[str]]:
    """The overrides of all combinations.

    Raises:
        HydraException: a key is swept over an interval, which can't be enumerated.
    """
    # Not a base class: Hydra executes its plugins' modules again when it looks for plugins, and a
    # class of the first execution is no subclass of the second's.
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    (found,) = BasicSweeper.split_arguments(list(overrides), max_batch_size=None)
    return found
