"""action=publish: the records behind a table, or a measurement, as files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.config import from_project, read_action, read_tracking
from bench.errors import Failure, InputError, unknown
from bench.files import as_json, write_bytes
from bench.records.check import ERRORS, check_record
from bench.records.files import OURS, SWEEP
from bench.report.collect import readable
from bench.report.selection import select
from bench.report.shared_record import shared_arguments, shared_record, without_folders
from bench.runs.lifecycle import open_store
from bench.tracking.backend import NothingRecorded
from bench.tracking.contents import read_contents
from bench.tracking.record import PRETRAIN

STORE_ONLY = ("run_id", "parent")  # keys that a store adds to a record


@dataclass(frozen=True)
class PublishSettings:
    """What to publish: a table of the report, `efficiency` or `embeddings`; and where."""

    table: str | None
    folder: str


def publish(config: dict[str, Any]) -> dict[str, Any]:
    """Write the files, and remove those of runs that are no longer part of the table.

    Raises:
        InputError: there is no such table or measurement.
        Failure: the predictions of a run are gone, or its record does not agree with them.
    """
    settings = read_action(PublishSettings, config)
    if not settings.table:
        raise InputError("action.table is missing: give the name of a table, such as table2")
    try:
        store = open_store(read_tracking(config), create=False)
    except NothingRecorded as error:
        raise InputError(f"there is nothing to publish: {error}") from error
    contents = read_contents(store)
    known = {r["identity"]: r for r in (*contents.records, *contents.pretrainings)}
    tables = {one.name: one for one in select(readable(contents.sweeps)[0], known)}
    name, kept, missing = settings.table, set[str](), ""
    if measured := contents.measurements.get(name):
        content = without_folders(measured.content)
        files = {f"{measured.kind}.json": _compact(content)}
    elif name in tables:
        sweep = tables[name].sweep
        sweep = replace(sweep, arguments=shared_arguments(sweep.arguments))
        files = {SWEEP: as_json(sweep.to_json()).encode()}
        for record in (known[i] for i in sorted(sweep.identities & known.keys())):
            files |= _files(record, store.file(record["run_id"], "predictions.jsonl"))
        kept = {identity[:12] for identity in sweep.identities}
        if unknown_runs := len(sweep.identities - known.keys()):
            missing = f", without {unknown_runs} of {len(kept)} runs, which are not in the store"
    else:
        raise unknown("table to publish", name, [*tables, *contents.measurements])
    folder = from_project(settings.folder) / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        write_bytes(folder / file, content)
    for path in folder.iterdir():
        stem = path.name.partition(".")[0]
        if OURS.fullmatch(path.name) and path.name not in files and stem not in kept:
            path.unlink()
    size = sum(map(len, files.values())) / 1e6
    return {"summary": f"{name}: {len(files)} files, {size:.1f} MB{missing} -> {folder}"}


def _files(record: Mapping[str, Any], predictions: bytes | None) -> dict[str, bytes]:
    shared = {k: v for k, v in shared_record(record).items() if k not in STORE_ONLY}
    if record.get("kind") == PRETRAIN:
        predictions = None
    try:
        check_record(shared, predictions)
    except ERRORS as error:
        raise Failure(f"the run {record['run_id']} can't be published: {error}") from error
    stem = record["identity"][:12]
    files = {f"{stem}.json": _compact(shared)}
    if predictions is not None:
        files[f"{stem}.jsonl.gz"] = gzip.compress(predictions, 9, mtime=0)
    return files


def _compact(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
