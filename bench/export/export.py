"""action=export: the adapter of a finished run as a folder to share.

The folder contains no executable code: the weights are safetensors, everything else is text.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config import PROJECT, read_action, read_tracking
from bench.errors import InputError
from bench.export.method_comparison import method_comparison
from bench.export.model_card import model_card
from bench.export.source import CONFIG, WEIGHTS, Source, find_run
from bench.files import read_cache, write_json, write_text
from bench.report.shared_record import base_of, shared_record
from bench.tracking.store import NothingRecorded, Store

MANIFEST = "export.json"


@dataclass(frozen=True)
class ExportSettings:
    """The run to export, as in `export`, and the output folder."""

    run: str | None = None
    folder: str | None = None


def action(config: dict[str, Any]) -> dict[str, Any]:
    """Export the run that a resolved configuration names."""
    settings, tracking = read_action(ExportSettings, config), read_tracking(config)
    if not settings.run:
        raise InputError(
            "action.run is missing: give a run's id or folder, e.g. action.run=results/runs/ID"
        )
    try:
        store = Store(tracking.results, tracking.uri, tracking.experiment, create=False)
    except NothingRecorded:
        store = None
    folder = PROJECT / Path(settings.folder).expanduser() if settings.folder else None
    folder = export(settings.run, tracking.results, store, folder)
    return {"summary": f"{', '.join(sorted(p.name for p in folder.iterdir()))} -> {folder}"}


def export(given: str, results: Path, store: Store | None, folder: Path | None) -> Path:
    """Write a run's adapter, model card and record into a folder, and return it.

    Args:
        given: the run's id, a prefix of it, or its folder.
        results: the results folder.
        store: the tracking store; None if there is none yet.
        folder: output folder; None: exports/<id> in the results folder.

    Raises:
        InputError: no such run, a run without an adapter, or a folder with other content.
        Failure: the record or the adapter is missing or damaged.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run = find_run(given, results, store, scratch)
        folder = (folder or results / "exports" / run.record["identity"][:12]).resolve()
        check_target(folder)
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        stack.callback(shutil.rmtree, partial, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _fill(partial, run)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return folder


def _fill(folder: Path, run: Source) -> None:
    from bench.methods import is_ours

    record, base = run.record, base_of(run.record)
    config = json.loads((run.adapter / CONFIG).read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base.name, "revision": base.revision}
    write_json(folder / CONFIG, config)
    shutil.copyfile(run.adapter / WEIGHTS, folder / WEIGHTS)
    size = (folder / WEIGHTS).stat().st_size
    write_json(folder / "record.json", shared_record(record))
    comparison = method_comparison(record, config, size, run.created_at)
    write_json(folder / "method_comparison.json", comparison)
    card = model_card(record, is_ours(str(config.get("peft_type"))), run.created_at)
    write_text(folder / "README.md", card)
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, {"identity": record["identity"], "files": files})


def check_target(folder: Path) -> None:
    """Check that a folder is absent, empty, or an unchanged export.

    Raises:
        InputError: the folder has other or modified files.
    """
    if folder.is_file():
        raise InputError(f"action.folder={folder} is a file: give a folder")
    manifest = folder / MANIFEST
    known = (read_cache(manifest) or {}).get("files")
    # Another mapping, or none: not an export.
    known = known | {MANIFEST: _sha256(manifest)} if isinstance(known, dict) else {}
    others = [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and _sha256(path) != known.get(path.relative_to(folder).as_posix())
    ]
    if others:
        raise InputError(
            f"action.folder={folder} has files that no export wrote or that were changed since: "
            f"{', '.join(others[:3])}{' ...' if len(others) > 3 else ''}. Give a new folder"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
