"""`action=report`: every table and figure again, from the tracking store alone."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import InputError, printable
from bench.files import write_bytes

if TYPE_CHECKING:
    from bench.config import TrackingSettings
    from bench.report.collected import Collected, CollectedTable
    from bench.report.published import Published
    from bench.report.spec import TableSpec
    from bench.tracking.reader import Reader

LISTED = 12  # lines of one kind
ROWS = 4  # of a table, that have a command each
# Pictures that a sweep made of what no record has, kept with it.
OF_SWEEPS = ("{}_search.svg", "{}_search.png")


@dataclass(frozen=True)
class ReportSettings:
    """What to make.

    Attributes:
        show: print the tables, too.
        figures: of at most so many tables; each takes seconds.
    """

    show: bool
    figures: int

    def __post_init__(self) -> None:
        if self.figures < 0:
            raise InputError(f"action.figures must not be negative, got {self.figures}")


def make_report(tracking: TrackingSettings, settings: ReportSettings) -> str:
    """Read the store, write what its runs make, and say what is missing.

    Reads runs and writes tables/, figures/ and nothing else, so it may be made while a sweep is at
    work, and by two commands at once.

    Args:
        tracking: where runs are recorded.
        settings: of the report.

    Returns:
        The last line for the person.

    Raises:
        InputError: there is no such store, or no such experiment in it.
    """
    from bench.config import results_folder
    from bench.identity import RESULT_VERSION
    from bench.report.collect import collect
    from bench.sweep.grids import (
        command,
        elsewhere,
        pretraining_specs,
        read_grids,
        table_specs,
    )
    from bench.tracking.reader import Reader
    from bench.tracking.store import NothingRecorded, Store

    folder = results_folder(tracking.folder)
    try:
        reader = Reader(Store(folder, tracking.uri, tracking.experiment, create=False))
        holdings = reader.holdings()
    except NothingRecorded as error:
        return _nothing(str(error))
    if not any(
        (holdings.records, holdings.unreadable, holdings.unfinished, holdings.measurements,
         holdings.pretrainings)
    ):  # fmt: skip
        return _nothing(f"the experiment {tracking.experiment} has none")
    specs = table_specs()
    words = elsewhere(tracking)
    collected = collect(
        holdings,
        specs,
        read_grids(holdings.records),
        _published(specs),
        partial(command, also=words),
        RESULT_VERSION,
        reader.predictions,
        pretraining_specs(),
    )
    drawn = _with_figures(collected, settings.figures)
    paths = list(_write(collected, reader, folder, settings.show, drawn))
    for line in told(collected, words):
        print(printable(line))
    if bare := len(collected.tables) - len(drawn):
        print(f"no figures of {_count(bare, 'table')}: action.figures={len(collected.tables)}")
    return f"{_count(len(paths), 'file')} -> {', '.join(map(str, _folders(paths)))}"


def _nothing(why: str) -> str:
    return (
        f"no runs to report on: {why}. Make some first: make reproduce-table2 (minutes), or "
        "python bench/run.py method=hyplora; then make report"
    )


def _published(specs: Mapping[str, TableSpec]) -> dict[str, Published]:
    from bench.report import load_published

    try:
        return {s.published: load_published(s.published) for s in specs.values() if s.published}
    except ValueError as error:
        raise InputError(f"table: {error}") from error


def _with_figures(collected: Collected, most: int) -> set[str]:
    """The names of the tables that get figures: the first of each sweep before all others."""
    firsts: dict[str | None, str] = {}
    for found in collected.tables:
        firsts.setdefault(found.sweep, found.name)
    names = dict.fromkeys([*firsts.values(), *(found.name for found in collected.tables)])
    return set(list(names)[:most])


def _write(
    collected: Collected, reader: Reader, folder: Path, show: bool, drawn: set[str]
) -> Iterator[Path]:
    """Write everything; yields the paths."""
    from bench.progress import Progress
    from bench.report import print_table, write_table
    from bench.report.page import write_page
    from bench.report.pretraining import pretraining_document, write_pretraining
    from bench.report.render import show as print_document

    with Progress("tables", total=len(collected.tables), unit="table") as progress:
        for found in collected.tables:
            if show:
                print_table(found.table)
                print()
            spec = found.spec if found.name in drawn else replace(found.spec, figures=())
            yield from write_table(found.table, found.records, spec, folder)
            if found.swept_by and found.name in drawn:
                yield from _pictures(found, reader, folder / "figures")
            progress.update(1)
    for pretrained in collected.pretrainings:
        if show:
            print_document(pretraining_document(pretrained.records, pretrained.spec))
        yield from write_pretraining(pretrained.records, pretrained.spec, folder)
    for kind, write in _writers().items():
        if kind in collected.measurements:
            yield from write(collected.measurements[kind].content, folder)
    yield write_page(collected, folder / "report")


def _writers() -> dict[str, Callable[[Mapping[str, Any], Path], list[Path]]]:
    """What writes the report of a measurement, by its kind in the store."""
    from bench.report.efficiency import write_efficiency
    from bench.report.embeddings import write_embeddings

    return {"efficiency": write_efficiency, "embeddings": write_embeddings}


def _pictures(found: CollectedTable, reader: Reader, folder: Path) -> Iterator[Path]:
    for pattern in OF_SWEEPS:
        picture = reader.file(found.swept_by or "", pattern.format(found.table.name))
        if picture is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / pattern.format(found.name)
            write_bytes(path, picture)
            yield path


def told(collected: Collected, words: Sequence[str]) -> Iterator[str]:
    """What a report is made of, what is missing and what was left out, line by line.

    Args:
        collected: of the report.
        words: that a command needs where runs are recorded in an unusual place.
    """
    arguments = f" ARGS={shlex.quote(shlex.join(words))}" if words else ""
    states = ", ".join(f"{count} {state}" for state, count in collected.states.items() if count)
    yield f"runs on record: {states}"
    for found in collected.tables:
        yield _headline(found)
        yield from _lacking(found)
    for pretrained in collected.pretrainings:
        runs = _count(len(pretrained.records), "pretraining run")
        yield f"{pretrained.spec.name}: {pretrained.spec.title}, {runs}"
    for kind, measured in collected.measurements.items():
        yield f"{kind}: the measurement of run {measured.run_id}"
    for sweep, why in collected.absent.items():
        yield f"no table {sweep}: {why}; make reproduce-{sweep}{arguments}"
    yield from _listed([f"unfinished: {line}" for line in collected.unfinished])
    out = [f"left out: {o.what}: {o.why}" if o.runs == 1 else
           f"left out: {o.runs} {o.what}: {o.why}" for o in collected.left_out]  # fmt: skip
    yield from _listed(out)


def _headline(found: CollectedTable) -> str:
    table = found.table
    return (
        f"{found.name}: {table.title}, {len(found.records)} of {found.total} runs in "
        f"{_count(len(table.rows), 'row')}, {table.model}, {table.data}, {table.protocol}"
    )


def _lacking(found: CollectedTable) -> Iterator[str]:
    """What a table lacks and the commands that make it: for each row, or for many rows one."""
    from bench.report.collect import lacking

    each = len(found.missing) <= ROWS
    for one in found.missing[:LISTED]:
        yield "; ".join([f"  missing: {lacking(one)}", *one.why])
        if each:
            yield f"    {one.command}"
    if not each:
        if len(found.missing) > LISTED:
            yield f"  and {len(found.missing) - LISTED} rows more"
        yield f"    {found.command}"


def _listed(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:LISTED]
    if len(lines) > LISTED:
        yield f"  and {len(lines) - LISTED} more"


def _folders(paths: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(path.parent for path in paths))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
