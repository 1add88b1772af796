"""action=report: all tables and figures from the tracking store, and one page with them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from bench.config import PROJECT, TrackingSettings, read_action, read_tracking
from bench.errors import InputError, printable, without_secrets
from bench.files import write_bytes
from bench.identity import PRETRAIN_VERSION, RESULT_VERSION
from bench.progress import Progress
from bench.report.collect import Collected, collect
from bench.report.efficiency import write_efficiency
from bench.report.embeddings.report import write_embeddings
from bench.report.formats import show
from bench.report.page.index import write_page
from bench.report.result import Result, result_of, write_result
from bench.report.selection import Selection
from bench.report.spec import PretrainingSpec, Spec, TableSpec
from bench.report.tables import bounded
from bench.tracking.backend import NothingRecorded
from bench.tracking.contents import read_contents
from bench.tracking.store import Store

LISTED = 12  # lines of one kind
PLAIN = re.compile(r"[\w./:+-]+")
# Figures of a search that no record can redraw; they are kept with the sweep's own run.
KEPT = ("search.svg", "search.png")


@dataclass(frozen=True)
class ReportSettings:
    """Whether tables are printed, and of how many tables figures are drawn (seconds each)."""

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
    settings, tracking = read_action(ReportSettings, config), read_tracking(config)
    files, arguments = sweep_files(), store_arguments(tracking)
    try:
        store = Store(tracking.results, tracking.uri, tracking.experiment, create=False)
        contents = read_contents(store)
        if contents.empty:
            raise NothingRecorded(f"the experiment {tracking.experiment} has none")
    except NothingRecorded as error:
        summary = f"no runs to report on: {error}. Run some first: make reproduce-table2 (minutes),"
        return {"summary": f"{summary} or python bench/run.py method=hyplora; then make report"}
    collected = collect(
        contents, files, (RESULT_VERSION, PRETRAIN_VERSION), store.predictions, arguments
    )
    results, collected = _results(collected)
    paths = list(_write(collected, results, store, tracking.results, settings))
    for line in _lines(collected, arguments):
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
                found[path.stem] = PretrainingSpec.from_mapping(pretraining)
        except ValueError as error:
            raise InputError(f"sweeps/{path.name}: {error}") from error
    return dict(sorted(found.items(), key=lambda item: item[1].place))


def store_arguments(tracking: TrackingSettings) -> list[str]:
    """The arguments of a command for a tracking store that is not the default one."""
    text = (PROJECT / "conf" / "tracking" / "default.yaml").read_text(encoding="utf-8")
    usual, given = yaml.safe_load(text), asdict(tracking) | {"uri": without_secrets(tracking.uri)}
    changed = {key: str(given[key]) for key in usual if given[key] != usual[key]}
    # Hydra's parser needs quotes around some characters.
    return [
        f"tracking.{key}={text if PLAIN.fullmatch(text) else json.dumps(text)}"
        for key, text in changed.items()
    ]


def _results(collected: Collected) -> tuple[list[Result], Collected]:
    """The tables computed, and what was collected without those that can't be."""
    results, left_out = [], list(collected.left_out)
    with Progress("tables", total=len(collected.tables), unit="table") as progress:
        for selection in collected.tables:
            try:
                results.append(result_of(selection, collected.predictions))
            except ValueError as error:
                left_out.append(f"the table {selection.name}: {error}")
            progress.update(1)
    made = tuple(result.selection for result in results)
    return results, replace(collected, tables=made, left_out=tuple(left_out))


def _write(
    collected: Collected,
    results: Sequence[Result],
    store: Store,
    folder: Path,
    settings: ReportSettings,
) -> Iterator[Path]:
    """Write everything; yields the paths."""
    # The first table of each sweep gets figures before all others.
    firsts = {s.sweep_runs and s.sweep.name: s.name for s in reversed(collected.tables)}.values()
    ordered = sorted((s.name for s in collected.tables), key=lambda name: name not in firsts)
    drawn = ordered[: settings.figures]
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
        print(f"{_count(bare, 'table')} without figures; action.figures={len(results)} draws them")
    writers = {"efficiency": write_efficiency, "embeddings": write_embeddings}
    for measured in collected.measurements.values():
        if write := writers.get(measured.kind):
            yield from write(measured.content, folder)
    yield write_page(results, collected, folder / "report")


def _kept_figures(selection: Selection, store: Store, folder: Path) -> Iterator[Path]:
    names = selection.name, selection.sweep.name
    for name in KEPT:
        kept = [f"{stem}_{name}" for stem in dict.fromkeys(names)]
        found = (store.file(run, file) for run in selection.sweep_runs for file in kept)
        if picture := next(filter(None, found), None):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{selection.name}_{name}"
            write_bytes(path, picture)
            yield path


def _lines(collected: Collected, arguments: Sequence[str]) -> Iterator[str]:
    """What a report was made from, what is missing and what was left out, line by line."""
    more = f" ARGS={shlex.quote(shlex.join(arguments))}" if arguments else ""
    states = ", ".join(f"{count} {state}" for state, count in collected.states.items() if count)
    yield f"runs: {states}"
    for selection in collected.tables:
        rows = _count(len(selection.groups), "row")
        runs = f"{len(selection.records)} of {selection.total} runs in {rows}"
        scored = isinstance(selection.spec, TableSpec)
        keys = ("model", "data", "protocol") if scored else ("size",)
        facts = [selection.spec.title, runs, *(str(selection.records[0][key]) for key in keys)]
        yield f"{selection.name}: {', '.join(facts)}"
        yield from bounded((f"  missing: {row.line}" for row in selection.missing), LISTED)
        if selection.command:
            yield f"    {selection.command}"
    for name, measured in collected.measurements.items():
        yield f"{name}: the measurement of run {measured.run_id}"
    for sweep, why in collected.absent.items():
        yield f"no table {sweep}: {why}; make reproduce-{sweep}{more}"
    yield from bounded((f"unfinished: {line}" for line in collected.unfinished), LISTED)
    yield from bounded((f"left out: {line}" for line in collected.left_out), LISTED)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
