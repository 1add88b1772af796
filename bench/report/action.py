"""action=report: all tables and figures from the tracking store, and one page with them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.config import PROJECT, TrackingSettings, read_action, read_tracking
from bench.errors import InputError, printable
from bench.files import write_bytes
from bench.identity import RESULT_VERSION
from bench.progress import Progress
from bench.report.collect import Collected, LeftOut, collect
from bench.report.design import Spec
from bench.report.pretraining.spec import PretrainingSpec
from bench.report.selection import Selection
from bench.report.spec import TableSpec
from bench.tracking.backend import without_password
from bench.tracking.contents import read_contents
from bench.tracking.store import NothingRecorded, Store

if TYPE_CHECKING:
    from bench.report.result import Result

LISTED = 12  # lines of one kind
PLAIN = re.compile(r"[\w./:+-]+")
# Figures of a search that no record can redraw; they are kept with the sweep's own run.
KEPT = ("search.svg", "search.png")


@dataclass(frozen=True)
class ReportSettings:
    """What to report.

    Attributes:
        show: also print the tables.
        figures: of at most so many tables; each takes seconds.
    """

    show: bool
    figures: int

    def __post_init__(self) -> None:
        if self.figures < 0:
            raise InputError(f"action.figures must not be negative, got {self.figures}")


def report(config: dict[str, Any]) -> dict[str, Any]:
    """Read the store and write tables/, figures/ and report/; the store is not changed.

    Raises:
        InputError: there is no such store, or no such experiment in it.
    """
    settings = read_action(ReportSettings, config)
    tracking = read_tracking(config)
    folder = tracking.results
    files = sweep_files()
    try:
        store = Store(folder, tracking.uri, tracking.experiment, create=False)
        contents = read_contents(store)
    except NothingRecorded as error:
        return {"summary": _nothing(str(error))}
    if contents.empty:
        return {"summary": _nothing(f"the experiment {tracking.experiment} has none")}
    also = elsewhere(tracking)
    collected = collect(contents, files, RESULT_VERSION, store.predictions, also)
    results, collected = _results(collected)
    paths = list(_write(collected, results, store, folder, settings))
    for line in lines_of(collected, also):
        print(printable(line))
    folders = ", ".join(map(str, dict.fromkeys(path.parent for path in paths)))
    return {"summary": f"{_count(len(paths), 'file')} -> {folders}"}


def sweep_files() -> dict[str, Spec]:
    """The specs of all sweep files that have one, by the file's stem, in a report's order.

    Raises:
        InputError: a spec can't be used.
    """
    found: dict[str, Spec] = {}
    for path in sorted((PROJECT / "conf" / "sweep").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        try:
            if table := content.get("table"):
                found[path.stem] = TableSpec.from_mapping(table)
            elif pretraining := content.get("pretraining"):
                found[path.stem] = PretrainingSpec(**pretraining)
        except (TypeError, ValueError) as error:
            raise InputError(f"sweeps/{path.name}: {error}") from error
    return dict(sorted(found.items(), key=lambda item: getattr(item[1], "place", 99)))


def elsewhere(tracking: TrackingSettings) -> list[str]:
    """The arguments of a command for a tracking store that is not the default one."""
    text = (PROJECT / "conf" / "tracking" / "default.yaml").read_text(encoding="utf-8")
    usual, given = yaml.safe_load(text), asdict(tracking) | {"uri": without_password(tracking.uri)}
    changed = {key: str(given[key]) for key in usual if given[key] != usual[key]}
    # Hydra's parser needs quotes around some characters.
    return [
        f"tracking.{key}={text if PLAIN.fullmatch(text) else json.dumps(text)}"
        for key, text in changed.items()
    ]


def _nothing(why: str) -> str:
    return (
        f"no runs to report on: {why}. Run some first: make reproduce-table2 (minutes), or "
        "python bench/run.py method=hyplora; then make report"
    )


def _results(collected: Collected) -> tuple[list[Result], Collected]:
    """The tables computed, and what was collected without those that can't be."""
    from bench.report.result import result_of

    results, left_out = [], list(collected.left_out)
    selections = [*collected.tables, *collected.pretrainings]
    with Progress("tables", total=len(selections), unit="table") as progress:
        for selection in selections:
            try:
                results.append(result_of(selection))
            except ValueError as error:
                runs = len(selection.records)
                left_out.append(LeftOut(f"the table {selection.name}", runs, str(error)))
            progress.update(1)
    made = {result.selection.name for result in results}
    return results, replace(
        collected,
        tables=tuple(table for table in collected.tables if table.name in made),
        pretrainings=tuple(table for table in collected.pretrainings if table.name in made),
        left_out=tuple(left_out),
    )


def _write(
    collected: Collected,
    results: Sequence[Result],
    store: Store,
    folder: Path,
    settings: ReportSettings,
) -> Iterator[Path]:
    """Write everything; yields the paths."""
    from bench.report.formats import show
    from bench.report.page import write_page
    from bench.report.result import write_result

    drawn = _with_figures([result.selection for result in results], settings.figures)
    with Progress("files", total=len(results), unit="table") as progress:
        for result in results:
            if settings.show:
                show(result.report)
                print()
            wanted = result.selection.name in drawn
            yield from write_result(result, folder, figures=wanted)
            if wanted:
                yield from _kept_figures(result.selection, store, folder / "figures")
            progress.update(1)
    if bare := len(results) - len(drawn):
        print(f"no figures of {_count(bare, 'table')}: action.figures={len(results)}")
    for kind, write in _writers().items():
        if kind in collected.measurements:
            yield from write(collected.measurements[kind].content, folder)
    yield write_page(results, collected, folder / "report")


def _writers() -> dict[str, Any]:
    """What writes the report of a measurement, by its kind in the store."""
    from bench.report.efficiency import write_efficiency
    from bench.report.embeddings.report import write_embeddings

    return {"efficiency": write_efficiency, "embeddings": write_embeddings}


def _with_figures(tables: Sequence[Selection], most: int) -> set[str]:
    """The names of the tables that get figures: the first of each sweep before all others."""
    firsts: dict[str | None, str] = {}
    for selection in tables:
        firsts.setdefault(selection.sweep, selection.name)
    names = dict.fromkeys([*firsts.values(), *(selection.name for selection in tables)])
    return set(list(names)[:most])


def _kept_figures(selection: Selection, store: Store, folder: Path) -> Iterator[Path]:
    for name in KEPT:
        found = (store.file(run, f"{selection.sweep}_{name}") for run in selection.sweep_runs)
        if picture := next(filter(None, found), None):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{selection.name}_{name}"
            write_bytes(path, picture)
            yield path


def lines_of(collected: Collected, also: Sequence[str]) -> Iterator[str]:
    """What a report was made from, what is missing and what was left out, line by line.

    Args:
        collected: of the report.
        also: arguments of a command for this store.
    """
    arguments = f" ARGS={shlex.quote(shlex.join(also))}" if also else ""
    states = ", ".join(f"{count} {state}" for state, count in collected.states.items() if count)
    yield f"runs: {states}"
    for selection in (*collected.tables, *collected.pretrainings):
        rows = _count(len(selection.groups), "row")
        runs = f"{len(selection.records)} of {selection.total} runs in {rows}"
        yield f"{selection.name}: {selection.spec.title}, {runs}{_facts(selection)}"
        yield from _listed(
            ["; ".join([f"  missing: {one.text}", *one.why]) for one in selection.missing]
        )
        if selection.command:
            yield f"    {selection.command}"
    for kind, measured in collected.measurements.items():
        yield f"{kind}: the measurement of run {measured.run_id}"
    for sweep, why in collected.absent.items():
        yield f"no table {sweep}: {why}; make reproduce-{sweep}{arguments}"
    yield from _listed([f"unfinished: {line}" for line in collected.unfinished])
    yield from _listed(
        [
            f"left out: {one.what if one.runs == 1 else f'{one.runs} {one.what}'}: {one.why}"
            for one in collected.left_out
        ]
    )


def _facts(selection: Selection) -> str:
    first: Mapping[str, Any] = selection.records[0]
    keys = ("model", "data", "protocol") if isinstance(selection.spec, TableSpec) else ("size",)
    return "".join(f", {first[key]}" for key in keys)


def _listed(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:LISTED]
    if len(lines) > LISTED:
        yield f"  and {len(lines) - LISTED} more"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
