"""What all sweeps share: a plan, a run of the sweep's own in the store, a table."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from bench.errors import Failure, InputError, printable, without_secrets
from bench.files import locked, write_json
from bench.progress import duration
from bench.report.design import sweep_records
from bench.report.published import load_published
from bench.report.selection import select
from bench.report.spec import PretrainingSpec, Spec, TableSpec
from bench.runs.attempt import LOCK
from bench.sweep.jobs import Job, Planner
from bench.sweep.launch import Launch, began
from bench.sweep.rates import Rates
from bench.tracking.contents import SweepRun
from bench.tracking.store import Store
from bench.tracking.sweeps import SweepRecord, sweep_identity

MAX_RETRIES = 10
LONGEST = 100  # characters of a table's name, which names its files


class Sweep(ABC):
    """Plans all runs before any is launched, and launches only those that are not cached.

    Attributes:
        config: the command's configuration; each run adds its own overrides.
        overrides: by key; those of the command line win over the sweep file's `params`.
        spec: the table's spec.
        results: the results folder.
        written: whether the table is written to the results folder (sweep files) or only printed
            (grids).
        remarks: notes below the table.
        metrics: metrics of the sweep's own run, by name.
        files: files to store with that run.
        launch: the `Launch` of its jobs, once begun.
    """

    actions: tuple[str, ...] = ("finetune",)  # that it can run

    def __init__(
        self,
        context: HydraContext,
        config: DictConfig,
        launcher: Any,
        params: Mapping[str, str],
        arguments: Sequence[str],
        settings: Mapping[str, Any],
    ) -> None:
        """Read what is asked for.

        Args:
            context: Hydra's context.
            config: the command's configuration.
            launcher: Hydra's launcher.
            params: of the sweep file: what is swept over, by key.
            arguments: overrides of the command line.
            settings: the other keys of hydra.sweeper.
        """
        max_retries = settings["max_retries"]
        whole = isinstance(max_retries, int) and not isinstance(max_retries, bool)
        if not whole or not 0 <= max_retries <= MAX_RETRIES:
            raise InputError(
                f"hydra.sweeper.max_retries must be a number from 0 to {MAX_RETRIES}, "
                f"got {max_retries!r}"
            )
        self.config, self.launcher, self.params = config, launcher, params
        self.max_retries, self.given = max_retries, settings
        self.parser = OverridesParser.create(config_loader=context.config_loader)
        words = [*(f"{key}={values}" for key, values in params.items()), *arguments]
        by_key = {o.get_key_element(): o for o in self.parser.parse_overrides(words)}
        self.overrides = list(by_key.values())
        # Hydra takes its own overrides out of the arguments.
        own = OmegaConf.select(config, "hydra.overrides.hydra") or []
        own = [word for word in own if not word.startswith("hydra.mode=")]
        self.arguments = [without_secrets(word) for word in [*arguments, *own]]
        self.planner = Planner(context, config, began())
        self.results = self.planner.tracking.results
        self.spec, self.written = table_spec(config)
        if self.written and config.action.name != "tune":
            self.planner.rates = Rates(self.spec.name, self.results)
        self.remarks: list[str] = []
        self.metrics: dict[str, float] = {}
        self.files: list[Path] = []
        self.launch: Launch | None = None

    def run(self) -> list[dict[str, Any]]:
        """Run what is missing, and show all.

        Returns the records of the runs; of other actions what those return.

        Raises:
            InputError: something can't be run; nothing was launched.
            Failure: some runs failed, after the others have been shown, or a table can't be made.
        """
        action = self.config.action.name
        if action not in self.actions:
            raise InputError(f"this sweeper runs action={' or '.join(self.actions)}, not {action}")
        try:
            return self.run_jobs()
        except BaseException as error:
            if self.launch:
                status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
                why = str(error) or type(error).__name__
                self.launch.store.fail(self.launch.parent, status, why)
            raise

    @abstractmethod
    def run_jobs(self) -> list[dict[str, Any]]:
        """Plan, run and show the sweep; see `run`."""

    @property
    def pretrains(self) -> bool:
        """Whether its runs are pretraining runs."""
        return isinstance(self.spec, PretrainingSpec)

    @property
    def swept(self) -> list[str]:
        """The keys that the sweep runs over."""
        return sorted(o.get_key_element() for o in self.overrides if o.is_sweep_override())

    def plan(self, jobs: Sequence[Job], counts: Sequence[int] = ()) -> None:
        """Show what would run: see `bench.sweep.plan.show_plan`."""
        from bench.sweep.plan import show_plan

        show_plan(jobs, self.planner.store, self.config, counts)

    def begin(self, name: str, keys: Iterable[str], total: int, jobs: Sequence[Job] = ()) -> Launch:
        """Start the sweep's own run, with a record of what it asks for.

        Args:
            name: name of the sweep.
            keys: what distinguishes this sweep from another of its name.
            total: how many jobs will be launched.
            jobs: its runs, as far as they are known.
        """
        store = self.planner.store
        parent = store.sweep(sweep_identity(name, keys), name, self.params)
        if self.written and jobs:  # else an earlier command may have known them
            store.keep_sweeps(parent, self._records(jobs))
        self.start = time.perf_counter()
        self.launch = Launch(self.launcher, store, parent, total)
        return self.launch

    def end(
        self, jobs: Sequence[Job], lost: Sequence[Job] = (), has_table: bool = True
    ) -> list[dict[str, Any]]:
        """Print how the sweep went, make its table unless it has none, and close its own run.

        Runs that are `lost` have failed, and are not part of the table.

        Raises:
            Failure: some runs failed, or the table can't be made.
        """
        store, parent = self.planner.store, self.launch.parent
        done = [job for job in jobs if job.record is not None]
        failed = [job for job in jobs if job.failure is not None and not job.pruned] + [*lost]
        pruned = sum(job.pruned for job in jobs)
        found = sum(job.found for job in done)
        states = [f"{len(done) - found} done now", f"{found} cached"]
        states += [f"{pruned} pruned"] if pruned else []
        took = duration(time.perf_counter() - self.start)
        states += [f"{len(failed)} failed; {took}"]
        print(f"{len(jobs) + len(lost)} different runs: {', '.join(states)}", flush=True)
        for job in done:
            if job.found:
                store.adopt(job.record["run_id"], parent)
        problems = [failure_lines(failed)] if failed else []
        if has_table:
            sweeps = self._records(jobs)
            if self.written:
                store.keep_sweeps(parent, sweeps)
                note_sweeps(store, done, sweeps)
            problems += self._show(sweeps, {job.identity: job.record for job in done})
        elif done:
            print("\n".join(self.remarks), flush=True)
        counts = {"runs/finished": len(done), "runs/failed": len(failed)}
        store.finish_sweep(parent, counts | self.metrics, self.files, self.remarks)
        if problems:
            raise Failure("\n".join(problems))
        return [{"record": job.record} for job in done]

    def _records(self, jobs: Sequence[Job]) -> list[SweepRecord]:
        """What the sweep asks for, one record per question."""
        runs = [job.planned for job in jobs if not job.pruned]
        found = sweep_records(runs, self.spec, self.arguments, self.planner.began)
        return [replace(sweep, remarks=tuple(self.remarks)) for sweep in found]

    def _show(self, sweeps: Sequence[SweepRecord], known: Mapping[str, Any]) -> list[str]:
        """Print and write a table for each question; returns why one of a file can't be made."""
        from bench.report.formats import show
        from bench.report.result import result_of, write_result

        problems = []
        for selection in select([SweepRun("", self.spec.name, tuple(sweeps))], known):
            try:
                result = result_of(selection, self.planner.store.predictions)
            except ValueError as error:
                print(printable(f"no table: {error}"))
                problems.append(f"the table {selection.name} can't be made: {error}")
                continue
            show(result.report)
            if self.written:
                written = write_result(result, self.results)
                print("\n".join(map(str, written)))
                self.files += written
        return problems if self.written else []


def table_spec(config: DictConfig) -> tuple[Spec, bool]:
    """The table that a sweep file's `table:` or `pretraining:` asks for; and if there is a file.

    Raises:
        InputError: the spec or the published results that it names can't be used.
    """
    action = config.action.name
    pretrains = action == "pretrain" or (action == "tune" and "pretraining" in config)
    kind: type[Spec] = PretrainingSpec if pretrains else TableSpec
    key = "pretraining" if pretrains else "table"
    named = OmegaConf.select(config, key)
    if named is None:
        return kind("sweep", "Pretraining" if pretrains else "Runs of this sweep"), False
    given: Any = OmegaConf.to_container(named)
    try:
        spec = kind.from_mapping(given)
        if len(spec.name) > LONGEST:
            raise ValueError(
                f"{key}.name has {len(spec.name)} characters, at most {LONGEST} are allowed"
            )
        if spec.published and isinstance(spec, TableSpec):
            load_published(spec.published)
    except ValueError as error:
        raise InputError(f"{key}: {error}") from error
    return spec, True


def note_sweeps(store: Store, jobs: Sequence[Job], sweeps: Sequence[SweepRecord]) -> None:
    """Write into the records of finished runs which rows of which sweeps they belong to."""
    rows = [
        (member.identity, {"sweep": sweep.name, "row": row.key, "label": row.label})
        for sweep in sweeps
        for member in sweep.members
        for row in sweep.rows
        if row.key == member.row
    ]
    for job in jobs:
        mine = [row for identity, row in rows if identity == job.identity]
        if all(row in job.record.get("sweeps", []) for row in mine):
            continue
        places = [(row["sweep"], row["row"]) for row in mine]
        run_id, path = job.record["run_id"], job.folder / "record.json"
        here = path.is_file()  # not if it was made on another machine
        with locked(job.folder / LOCK, f"the record {path}") if here else nullcontext():
            record = store.record(run_id)  # another sweep may have written it since
            others = [
                row for row in record.get("sweeps", [])
                if (row["sweep"], row["row"]) not in places
            ]  # fmt: skip
            job.record["sweeps"] = record["sweeps"] = [*others, *mine]
            if here:
                write_json(path, record)
            store.amend(run_id, record)


def failure_lines(failed: Sequence[Job]) -> str:
    """Lines on what failed and why, and where to find the traceback."""
    lines = [f"{len(failed)} run{'s' if len(failed) > 1 else ''} failed:"]
    for job in failed:
        lines.append(f"  {job.differs}: {job.failure}")
        trace = job.folder / "failure.txt"
        if trace.is_file():
            lines.append(f"    {trace}")
    lines.append("the same command tries them again, and runs nothing that is cached")
    return "\n".join(lines)


def combinations(overrides: Sequence[Override]) -> list[list[str]]:
    """The overrides of all combinations.

    Raises:
        HydraException: a key is swept over an interval, which can't be enumerated.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    (found,) = BasicSweeper.split_arguments(list(overrides), max_batch_size=None)
    return found
