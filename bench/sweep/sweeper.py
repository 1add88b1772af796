"""What all sweepers have in common: a plan, a run of the sweep's own in the store, an end."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from bench.errors import Failure, InputError
from bench.sweep.show import Shown, tell_failures, wanted_table

if TYPE_CHECKING:
    from bench.sweep.jobs import Job, Planner
    from bench.sweep.launch import Launch
    from bench.tracking.store import Store

MAX_RETRIES = 10


@dataclass
class Ending:
    """What a sweep leaves in its own run, beside its table.

    Attributes:
        figures: metrics by name.
        files: that were written.
        remarks: lines under the table.
    """

    figures: dict[str, float] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class RunSweeper(Sweeper):
    """Runs that are planned before any is launched, and launched only where they are missing."""

    actions: tuple[str, ...] = ("finetune",)  # that leave records

    def __init__(self, params: Mapping[str, str] | None = None, max_retries: int = 0) -> None:
        """Take a sweep file's settings.

        Args:
            params: by key what is swept over, in Hydra's words.
            max_retries: how often a run that failed is tried again before the sweep ends.
        """
        whole = isinstance(max_retries, int) and not isinstance(max_retries, bool)
        if not whole or not 0 <= max_retries <= MAX_RETRIES:
            raise InputError(
                f"hydra.sweeper.max_retries is a number from 0 to {MAX_RETRIES}, "
                f"got {max_retries!r}"
            )
        self.params, self.max_retries = dict(params or {}), max_retries

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands to a sweeper before it calls `sweep`."""
        from hydra.core.plugins import Plugins

        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[dict[str, Any]]:
        """Run what is missing, and show all.

        Args:
            arguments: overrides of the command line; they win over the sweep file's `params`.

        Returns:
            The outcomes of the runs: their records, and of other actions what those return.

        Raises:
            InputError: something that was asked for can't be run; nothing was launched.
            Failure: some runs failed, after the others have been shown; or their table can't
                be made.
        """
        from bench.runs.clock import BEGAN

        overrides = self._overrides(arguments)
        table: Shown = wanted_table(self.config)
        action = self.config.action.name
        if action not in self.actions:
            return self.run_action(overrides)

        from bench.sweep.jobs import Planner
        from bench.sweep.launch import ended_by_sigterm

        kind = Planner
        if action == "pretrain":
            from bench.sweep.pretraining import PretrainPlanner, wanted_pretraining

            kind, table = PretrainPlanner, wanted_pretraining(self.config)
        planner = kind(self.hydra_context, self.config, float(os.environ[BEGAN]))
        with ended_by_sigterm():
            return self.carry_out(overrides, planner, table)

    def run_action(self, overrides: Sequence[Override]) -> list[dict[str, Any]]:
        """Run an action that leaves no records."""
        raise InputError(f"this sweeper runs action=finetune, not {self.config.action.name}")

    def carry_out(
        self, overrides: Sequence[Override], planner: Planner, table: Any
    ) -> list[dict[str, Any]]:
        """Plan, run and show the sweep; see `sweep`."""
        raise NotImplementedError

    def begin(self, store: Store, identities: Iterable[str], name: str, total: int) -> Launch:
        """Begin the sweep's own run.

        Args:
            store: that it is recorded in.
            identities: what tells this sweep from another.
            name: of the sweep.
            total: how many jobs are going to be launched.
        """
        from bench.sweep.launch import Launch

        digest = hashlib.sha256("\n".join([name, *sorted(identities)]).encode()).hexdigest()
        parent = store.sweep(f"sweep-{digest}", name, self.params)
        return Launch(self.launcher, store, parent, total)

    def end(
        self,
        launch: Launch,
        jobs: Sequence[Job],
        began: float,
        table: Shown | None,
        ending: Ending,
    ) -> list[dict[str, Any]]:
        """Tell how the sweep went, make its table, and close its own run.

        Args:
            launch: of the sweep.
            jobs: different runs.
            began: when they began, on `time.perf_counter`'s clock.
            table: that the runs become; None for a search whose trials make none.
            ending: what else the sweep leaves.

        Raises:
            Failure: some runs failed, or the table can't be made.
        """
        from bench.progress import duration

        done = [job for job in jobs if job.record is not None]
        failed = [job for job in jobs if job.failure is not None and not job.pruned]
        pruned = sum(job.pruned for job in jobs)
        found = sum(job.found for job in done)
        told = [f"{len(done) - found} done now", f"{found} on record already"]
        told += [f"{pruned} given up early"] if pruned else []
        told += [f"{len(failed)} failed"]
        took = duration(time.perf_counter() - began)
        print(f"{len(jobs)} different runs: {', '.join(told)}; {took}", flush=True)
        for job in done:
            if job.found and job.record is not None:
                launch.store.adopt(job.record["run_id"], launch.parent)
        records = [job.record for job in done if job.record is not None]
        paths: list[Path] = []
        problem = None
        if records and table is not None:
            paths, problem = table.show(records, ending.remarks)
        elif records:
            print("\n".join(ending.remarks), flush=True)
        failure = "\n".join(filter(None, [tell_failures(failed), problem]))
        figures = {"runs/finished": len(done), "runs/failed": len(failed), **ending.figures}
        files = [*ending.files, *paths]
        launch.store.finish_sweep(launch.parent, figures, files, ending.remarks, failure)
        if failure:
            raise Failure(failure)
        return [{"record": record} for record in records]

    def _overrides(self, arguments: list[str]) -> list[Override]:
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        params = [f"{key}={values}" for key, values in self.params.items()]
        found: dict[str, Override] = {}
        for override in parser.parse_overrides([*params, *arguments]):
            found[override.get_key_element()] = override
        return list(found.values())


def swept(overrides: Iterable[Override]) -> list[str]:
    """The keys that a sweep runs over."""
    return sorted(o.get_key_element() for o in overrides if o.is_sweep_override())
