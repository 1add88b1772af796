"""What a sweep prints and writes: its table, and what failed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from omegaconf import DictConfig, OmegaConf

from bench.config import results_folder
from bench.errors import InputError, printable
from bench.files import write_json
from bench.report.design import Spec, sweep_records
from bench.report.pretraining.spec import PretrainingSpec
from bench.report.published import load_published
from bench.report.selection import select
from bench.report.spec import TableSpec
from bench.tracking.contents import SweepRun
from bench.tracking.sweeps import SweepRecord

if TYPE_CHECKING:
    from bench.sweep.jobs import Job
    from bench.tracking.store import Store


@dataclass(frozen=True)
class Wanted:
    """The table of a sweep.

    Attributes:
        spec: of the table.
        folder: the results folder that it is written to; None if it is printed only.
    """

    spec: Spec
    folder: Path | None

    @property
    def name(self) -> str:
        """Stem of its files, and the name of the sweep's own run."""
        return self.spec.name

    def sweeps(
        self,
        jobs: Sequence[Job],
        arguments: Sequence[str],
        created: float,
        remarks: Sequence[str] = (),
    ) -> list[SweepRecord]:
        """What the sweep asks for, one record per question.

        Args:
            jobs: its runs.
            arguments: of the command line, passwords masked.
            created: seconds since the epoch.
            remarks: notes below the table.
        """
        runs = [job.planned for job in jobs if not job.pruned]
        found = sweep_records(runs, self.spec, arguments, created)
        return [replace(sweep, remarks=tuple(remarks)) for sweep in found]

    def show(
        self, sweeps: Sequence[SweepRecord], records: Sequence[dict[str, Any]]
    ) -> tuple[list[Path], str | None]:
        """Print a table for each question, and write it if there is a folder.

        Args:
            sweeps: what the sweep asked for.
            records: of finished runs.

        Returns:
            The files, and why a table that was to be written can't be made.
        """
        from bench.report.formats import show
        from bench.report.result import result_of, write_result

        known = {record["identity"]: record for record in records}
        paths: list[Path] = []
        problems = []
        for selection in select([SweepRun("", self.name, tuple(sweeps))], known):
            try:
                result = result_of(selection)
            except ValueError as error:
                print(printable(f"no table: {error}"))
                problems.append(f"the table {selection.name} can't be made: {error}")
                continue
            show(result.report)
            if self.folder:
                written = write_result(result, self.folder)
                print("\n".join(map(str, written)))
                paths += written
        return paths, "\n".join(problems) if problems and self.folder else None


def wanted_table(config: DictConfig) -> Wanted:
    """The table that a sweep file's `table:` or `pretraining:` asks for.

    It is read before anything runs. A grid without a sweep file has a table too, printed only.

    Raises:
        InputError: the spec or the published results that it names can't be used.
    """
    pretrains = config.action.name == "pretrain"
    key = "pretraining" if pretrains else "table"
    named = OmegaConf.select(config, key)
    if named is None:
        title = "Pretraining" if pretrains else "Runs of this sweep"
        kind: type[Spec] = PretrainingSpec if pretrains else TableSpec
        return Wanted(kind("sweep", title), None)
    given: Any = OmegaConf.to_container(named)
    try:
        spec = PretrainingSpec(**given) if pretrains else TableSpec.from_mapping(given)
        if spec.published and isinstance(spec, TableSpec):
            load_published(spec.published)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key}: {error}") from error
    return Wanted(spec, results_folder(config.tracking.folder))


def note_sweeps(store: Store, jobs: Sequence[Job], sweeps: Sequence[SweepRecord]) -> None:
    """Write into the records of finished runs which rows of which sweeps they belong to."""
    for job in jobs:
        assert job.record is not None
        mine = [
            {"sweep": sweep.name, "row": row.key, "label": row.label}
            for sweep in sweeps
            for member in sweep.members
            for row in sweep.rows
            if member.identity == job.identity and row.key == member.row
        ]
        rows = [(found["sweep"], found["row"]) for found in mine]
        before = job.record.get("sweeps", [])
        noted = [x for x in before if (x["sweep"], x["row"]) not in rows] + mine
        if noted != before:
            job.record["sweeps"] = noted
            _amend(store, job.record["run_id"], job.folder, noted)


def _amend(store: Store, run_id: str, folder: Path, noted: list[dict[str, str]]) -> None:
    path = folder / "record.json"
    with tempfile.TemporaryDirectory() as scratch:
        if not path.is_file():  # made on another machine
            path = Path(scratch) / "record.json"
        with FileLock(path.with_name("lock")):
            write_json(path, store.record(run_id) | {"sweeps": noted})
            store.amend(run_id, path)


def failure_lines(failed: Sequence[Job]) -> str:
    """What failed and why, and where the traceback is; empty if nothing did."""
    if not failed:
        return ""
    lines = [f"{len(failed)} run{'s' if len(failed) > 1 else ''} failed:"]
    for job in failed:
        lines.append(f"  {job.differs}: {job.failure}")
        trace = job.folder / "failure.txt"
        if trace.is_file():
            lines.append(f"    {trace}")
    lines.append("the same command tries them again, and runs nothing that is cached")
    return "\n".join(lines)
