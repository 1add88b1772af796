"""What a sweep prints and writes: its table, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from omegaconf import DictConfig, OmegaConf

from bench.errors import InputError, printable

if TYPE_CHECKING:
    from bench.report import Published, TableSpec
    from bench.sweep.jobs import Job


class Shown(Protocol):
    """What the runs of a sweep become; without a folder it is shown and not written."""

    @property
    def name(self) -> str:
        """What its files are called by, and the sweep's own run."""

    @property
    def folder(self) -> Path | None:
        """Where it is written to."""

    def show(
        self, records: list[dict[str, Any]], remarks: Sequence[str]
    ) -> tuple[list[Path], str | None]:
        """Print it, and write it where there is a folder to write it to.

        Args:
            records: of finished runs.
            remarks: lines to set under it.

        Returns:
            What was written, and why what was to be written can't be made.
        """


@dataclass(frozen=True)
class Wanted:
    """The table of a sweep."""

    spec: TableSpec
    published: Published | None
    folder: Path | None

    @property
    def name(self) -> str:
        """As `Shown` has it."""
        return self.spec.name

    def show(
        self, records: list[dict[str, Any]], remarks: Sequence[str]
    ) -> tuple[list[Path], str | None]:
        """As `Shown` has it."""
        from bench.report import make_table, print_table, write_table
        from bench.report.drafts import apart_of

        spec = self.spec
        if self.folder is None:  # a grid of one's own: whatever it runs over makes rows
            spec = replace(spec, apart=apart_of(records))
        try:
            table = make_table(records, spec, self.published, remarks)
        except ValueError as error:
            print(printable(f"no table: {error}"))
            problem = f"the table {spec.name} can't be made of these runs: {error}"
            return [], problem if self.folder else None
        print_table(table)
        if self.folder is None:
            return [], None
        paths = write_table(table, records, spec, self.folder.parent)
        for path in paths:
            print(path)
        return paths, None


def wanted_table(config: DictConfig) -> Wanted:
    """The table that a sweep file's `table:` asks for.

    Read before anything runs. A grid without a sweep file has a table too, shown but not written.

    Raises:
        InputError: the spec or the published figures that it names can't be used.
    """
    from bench.config import results_folder
    from bench.report import TableSpec, load_published

    named = OmegaConf.select(config, "table")
    if named is None:
        return Wanted(TableSpec(name="sweep", title="Runs of this sweep"), None, None)
    try:
        spec = TableSpec.from_mapping(OmegaConf.to_container(named))
        published = load_published(spec.published) if spec.published else None
    except ValueError as error:
        raise InputError(f"table: {error}") from error
    return Wanted(spec, published, results_folder(config.tracking.folder) / "tables")


def tell_failures(failed: Sequence[Job]) -> str:
    """What failed and why, and where the traceback is; empty where nothing did."""
    if not failed:
        return ""
    lines = [f"{len(failed)} run{'s' if len(failed) > 1 else ''} failed:"]
    for job in failed:
        lines.append(f"  {job.told}: {job.failure}")
        trace = job.folder / "failure.txt"
        if trace.is_file():
            lines.append(f"    {trace}")
    lines.append("the same command tries them again, and repeats nothing that is on record")
    return "\n".join(lines)
