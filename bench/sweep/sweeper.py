"""What all sweepers share: a plan, a run of the sweep's own in the store, an end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from bench.errors import Failure, InputError
from bench.tracking.sweeps import sweep_identity, without_passwords

if TYPE_CHECKING:
    from bench.sweep.jobs import Job, Planner
    from bench.sweep.launch import Launch
    from bench.sweep.show import Wanted
    from bench.tracking.store import Store

MAX_RETRIES = 10


@dataclass
class Ending:
    """What a search adds to its sweep's own run.

    Attributes:
        figures: metrics by name.
        files: that were written.
        remarks: notes below the table.
    """

    figures: dict[str, float] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class RunSweeper(Sweeper):
    """Plans all runs before any is launched, and launches only those that are not cached."""

    actions: tuple[str, ...] = ("finetune",)  # that leave records

    def __init__(self, params: Mapping[str, str] | None = None, max_retries: int = 0) -> None:
        """Take a sweep file's settings.

        Args:
            params: what is swept over, by key, in Hydra's syntax.
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
        overrides = self._overrides(arguments)
        action = self.config.action.name
        if action not in self.actions:
            return self.run_action(overrides)

        from bench.runs.clock import BEGAN
        from bench.sweep.jobs import Planner
        from bench.sweep.launch import ended_by_sigterm
        from bench.sweep.pretraining import PretrainPlanner
        from bench.sweep.show import wanted_table

        table = wanted_table(self.config)
        # Hydra takes its own overrides out of the arguments.
        own = OmegaConf.select(self.config, "hydra.overrides.hydra") or []
        words = [*arguments, *(word for word in own if not word.startswith("hydra.mode="))]
        self.arguments = without_passwords(words)
        self.began = float(os.environ[BEGAN])
        kind = PretrainPlanner if action == "pretrain" else Planner
        planner = kind(self.hydra_context, self.config, self.began)
        with ended_by_sigterm():
            return self.carry_out(overrides, planner, table)

    def run_action(self, overrides: Sequence[Override]) -> list[dict[str, Any]]:
        """Run an action that leaves no records."""
        raise InputError(f"this sweeper runs action=finetune, not {self.config.action.name}")

    def carry_out(
        self, overrides: Sequence[Override], planner: Planner, table: Wanted
    ) -> list[dict[str, Any]]:
        """Plan, run and show the sweep; see `sweep`."""
        raise NotImplementedError

    def begin(
        self,
        store: Store,
        name: str,
        keys: Iterable[str],
        total: int,
        table: Wanted,
        jobs: Sequence[Job] = (),
    ) -> Launch:
        """Start the sweep's own run, with a record of what it asks for.

        Args:
            store: that it is recorded in.
            name: of the sweep.
            keys: what distinguishes this sweep from another of its name.
            total: how many jobs will be launched.
            table: of the sweep.
            jobs: its runs, as far as they are known.
        """
        from bench.sweep.launch import Launch

        parent = store.sweep(sweep_identity(name, keys), name, self.params)
        if table.folder:
            store.keep_sweeps(parent, table.sweeps(jobs, self.arguments, self.began))
        return Launch(self.launcher, store, parent, total)

    def end(
        self,
        launch: Launch,
        jobs: Sequence[Job],
        began: float,
        table: Wanted | None,
        ending: Ending,
    ) -> list[dict[str, Any]]:
        """Print how the sweep went, make its table, and close its own run.

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
        from bench.sweep.show import failure_lines, note_sweeps

        store = launch.store
        done = [job for job in jobs if job.record is not None]
        failed = [job for job in jobs if job.failure is not None and not job.pruned]
        pruned = sum(job.pruned for job in jobs)
        found = sum(job.found for job in done)
        states = [f"{len(done) - found} done now", f"{found} cached"]
        states += [f"{pruned} pruned"] if pruned else []
        states += [f"{len(failed)} failed"]
        took = duration(time.perf_counter() - began)
        print(f"{len(jobs)} different runs: {', '.join(states)}; {took}", flush=True)
        for job in done:
            if job.found and job.record is not None:
                store.adopt(job.record["run_id"], launch.parent)
        paths: list[Path] = []
        problem = None
        if table is not None:
            sweeps = table.sweeps(jobs, self.arguments, self.began, ending.remarks)
            if table.folder:
                store.keep_sweeps(launch.parent, sweeps)
                note_sweeps(store, done, sweeps)
            paths, problem = table.show(sweeps, [job.record for job in done if job.record])
        elif done:
            print("\n".join(ending.remarks), flush=True)
        failure = "\n".join(filter(None, [failure_lines(failed), problem]))
        figures = {"runs/finished": len(done), "runs/failed": len(failed), **ending.figures}
        store.finish_sweep(launch.parent, figures, [*ending.files, *paths], ending.remarks, failure)
        if failure:
            raise Failure(failure)
        return [{"record": job.record} for job in done]

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
