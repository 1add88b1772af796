"""action=export: the adapter of a finished run as a folder to share.

The folder contains no executable code: the weights are safetensors, everything else is text.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config import from_project, read_action, read_tracking
from bench.errors import InputError
from bench.export.method_comparison import method_comparison
from bench.export.model_card import model_card
from bench.export.source import CONFIG, WEIGHTS, Source, find_run
from bench.files import read_cache, replaced, write_json, write_text
from bench.models.hashes import file_hash
from bench.report.shared_record import base_of, shared_record
from bench.runs.lifecycle import open_store
from bench.tracking.backend import NothingRecorded
from bench.tracking.store import Store

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
        store = open_store(tracking, create=False)
    except NothingRecorded:
        store = None
    folder = from_project(settings.folder) if settings.folder else None
    folder = export(settings.run, tracking.results, store, folder)
    return {"summary": f"{', '.join(sorted(p.name for p in folder.iterdir()))} -> {folder}"}


def export(given: str, results: Path, store: Store | None, folder: Path | None) -> Path:
    """Write a run's adapter, model card and record into a folder, and return it.

    The run is given by its id, a prefix of it, or its folder; the output folder is exports/<id> in
    the results folder unless it is given.

    Raises:
        InputError: no such run, a run without an adapter, or a folder with other content.
        Failure: the record or the adapter is missing or damaged.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run = find_run(given, results, store, Path(scratch))
        folder = (folder or results / "exports" / run.record["identity"][:12]).resolve()
        check_target(folder)
        with replaced(folder) as partial:
            _fill(partial, run)
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
    files = {path.name: file_hash(path) for path in sorted(folder.iterdir())}
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
    known = known | {MANIFEST: file_hash(manifest)} if isinstance(known, dict) else {}
    others = [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and file_hash(path) != known.get(path.relative_to(folder).as_posix())
    ]
    if others:
        raise InputError(
            f"action.folder={folder} has files that were not written by an export, or were changed "
            f"since: {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}. Give a new folder"
        )
