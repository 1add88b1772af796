"""action=import: published records, or runs' folders, into the tracking store as finished runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.config import from_project, read_action, read_tracking
from bench.errors import InputError, printable
from bench.files import write_bytes, write_json
from bench.models.settings import check_regular
from bench.names import plain_curvature
from bench.progress import Progress
from bench.records.check import ERRORS, TIMES, check_record, check_sweep
from bench.records.files import (
    ADAPTER,
    KINDS,
    RECORD,
    RUN,
    RUN_PREDICTIONS,
    SWEEP,
    read_json,
    read_predictions,
)
from bench.report.measurements import measurement_name
from bench.report.selection import spec_of
from bench.runs.lifecycle import open_store
from bench.tracking.contents import read_contents
from bench.tracking.record import efficiency_metrics, embeddings_metrics, metrics, params, tags
from bench.tracking.store import Store
from bench.tracking.sweeps import SweepRecord, sweep_identity

METRICS = dict(zip(KINDS, (efficiency_metrics, embeddings_metrics), strict=True))


@dataclass(frozen=True)
class ImportSettings:
    """The folder to import: of a table, of a run, or of several."""

    folder: str


@dataclass
class Found:
    """A folder that was read and checked; records, and where their predictions are, by identity.

    A run that evaluated no test set has no predictions.
    """

    sweep: SweepRecord | None = None
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[str, Path] = field(default_factory=dict)
    measurements: dict[str, Any] = field(default_factory=dict)


def import_(config: dict[str, Any]) -> dict[str, Any]:
    """Check all files, then write what the store does not have yet.

    Raises:
        InputError: there is nothing to import, or a file is not valid.
    """
    settings = read_action(ImportSettings, config)
    folder = from_project(settings.folder)
    if not folder.is_dir():
        raise InputError(f"action.folder={settings.folder} is not a folder")
    found = [_read(one) for one in (folder, *sorted(p for p in folder.iterdir() if p.is_dir()))]
    total = sum(len(one.records) + len(one.measurements) for one in found)
    if not total:
        raise InputError(
            f"action.folder={settings.folder} has no records, <id>.json or record.json"
        )
    store = open_store(read_tracking(config))
    added = 0
    with Progress("importing", total, "record") as progress:
        for _ in (run_id for one in found for run_id in _write(one, store)):
            added += 1
            progress.update(1)
    cached = f", {total - added} were in the store" if total > added else ""
    return {"summary": f"{added} imported{cached}: {folder}"}


def _read(folder: Path) -> Found:
    found = Found()
    for path in sorted(folder.glob("*.json")):
        if path.is_file():
            try:
                _read_file(path, found)
            except ERRORS as error:
                kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
                raise InputError(f"{path}: {kind}{error}") from error
    if found.sweep:
        try:
            check_sweep(found.sweep, found.records)
        except ERRORS as error:
            raise InputError(f"{folder / SWEEP}: {error}") from error
    return found


def _read_file(path: Path, found: Found) -> None:
    if path.name == SWEEP:
        found.sweep = SweepRecord.from_json(read_json(path))
        spec_of(found.sweep)
    elif path.stem in KINDS:
        found.measurements[path.stem] = content = read_json(path)
        METRICS[path.stem](content), measurement_name(path.stem, content)
    elif RECORD.fullmatch(path.name):
        identity = _read_record(read_json(path), path.with_suffix(".jsonl.gz"), found)
        if identity[:12] != path.stem:
            raise ValueError(f"it contains the record of another run, {identity[:12]}")
    elif path.name == RUN:
        record = read_json(path)
        _read_record(record | _times(record, path), path.with_name(RUN_PREDICTIONS), found)


def _read_record(record: Any, predictions: Path, found: Found) -> str:
    """Check a record and its predictions, and keep them; returns its identity."""
    check_record(record, read_predictions(predictions) if predictions.is_file() else None)
    metrics(record), tags(record), params(record["config"])  # what the store is given
    identity = str(record["identity"])
    found.records[identity] = record
    found.predictions[identity] = predictions
    return identity


def _times(record: Mapping[str, Any], path: Path) -> dict[str, int]:
    """When a run in a results folder began and ended, which only the store knows: approximately.

    It ended when its record was written.
    """
    seconds = record.get("seconds") or {"pretrain": record["training"]["seconds"]}
    ended = path.stat().st_mtime
    began = ended - sum(filter(None, seconds.values()))
    return dict(zip(TIMES, (round(1000 * began), round(1000 * ended)), strict=True))


def _write(found: Found, store: Store) -> Iterator[str]:
    """Write what the store does not have; yields the id of each run."""
    parent = None
    if (sweep := found.sweep) and found.records:
        identity = sweep_identity(sweep.name, sweep.identities)
        parent = store.finished(identity)
        if parent is None:
            parent = store.sweep(identity, sweep.name, {})
            store.keep_sweeps(parent, [sweep])
            store.finish_sweep(parent, {"runs/finished": len(found.records)}, (), sweep.remarks)
    for identity, record in found.records.items():
        if store.finished(identity) is None:
            yield _write_run(record, found.predictions[identity], store, parent)
    known = read_contents(store).measurements if found.measurements else {}
    for kind, content in found.measurements.items():
        if (name := measurement_name(kind, content)) not in known:
            yield store.keep(kind, content, METRICS[kind](content), {}, name=name)


def _write_run(
    record: Mapping[str, Any], predictions: Path, store: Store, parent: str | None
) -> str:
    identity, seed, K = record["identity"], record["seed"], record.get("curvature")
    words = [
        record.get("method") or record["model"],
        "" if K is None else f"K={plain_curvature(K)}",
        "" if seed is None else f"seed {seed}",
        identity[:6],
    ]
    run_id = store.start(
        identity,
        printable(" ".join(filter(None, words))),
        params(record["config"]),
        parent,
        record.get("kind"),
        began=record["began"],
    )
    kept = {key: value for key, value in record.items() if key not in TIMES} | {"run_id": run_id}
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / RUN, kept)
        if predictions.is_file():
            write_bytes(Path(folder) / RUN_PREDICTIONS, read_predictions(predictions))
        adapter = predictions.with_name(ADAPTER)
        if predictions.name == RUN_PREDICTIONS and adapter.is_dir():
            check_regular(adapter)
            shutil.copytree(adapter, Path(folder) / ADAPTER)
        store.finish(run_id, kept, Path(folder), ended=record["ended"])
    return run_id
