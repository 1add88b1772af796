"""A finished run's adapter as a folder that someone else can use: action=export.

The folder holds the adapter, its configuration, a model card and the run's record, and nothing that
is executed when it is read: weights are safetensors, all else is text.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.config import PROJECT, read_action, read_tracking
from bench.errors import Failure, InputError
from bench.export.method_comparison import method_comparison
from bench.export.model_card import model_card
from bench.files import write_json, write_text
from bench.report.shared_record import base_of, shared_record
from bench.runs.lifecycle import open_store
from bench.tracking.record import PRETRAIN
from bench.tracking.store import Store

WEIGHTS, CONFIG, MANIFEST = "adapter_model.safetensors", "adapter_config.json", "export.json"
SHORTEST = 4  # characters of a run's id
NEEDED = ("identity", "method", "scores", "averages", "config", "hashes", "train", "rows")


@dataclass(frozen=True)
class ExportSettings:
    """What is exported, and to where.

    Attributes:
        run: a run's id, its beginning, or its folder.
        folder: to write; None for exports/<id> in the results folder.
    """

    run: str | None = None
    folder: str | None = None


@dataclass(frozen=True)
class Run:
    """A finished run: its record, the folder of its adapter, and when it began, where known."""

    record: dict[str, Any]
    adapter: Path
    created_at: str | None

    @property
    def id(self) -> str:
        """The name of its folder in results/runs."""
        return str(self.record["identity"])[:12]


def action(config: dict[str, Any]) -> dict[str, Any]:
    """action=export."""
    settings, tracking = read_action(ExportSettings, config), read_tracking(config)
    if not settings.run:
        raise InputError(
            "action.run is missing: give a run's id or folder, action.run=results/runs/ID"
        )
    results = tracking.results
    exists = tracking.uri is not None or (results / "mlflow.db").is_file()
    store = open_store(tracking) if exists else None
    folder = PROJECT / Path(settings.folder).expanduser() if settings.folder else None
    folder = export(settings.run, results, store, folder)
    return {"summary": f"{', '.join(sorted(p.name for p in folder.iterdir()))} -> {folder}"}


def export(given: str, results: Path, store: Store | None, folder: Path | None) -> Path:
    """Write a run's adapter and what belongs to it.

    Args:
        given: the run's id, its beginning, or its folder.
        results: the results folder.
        store: where runs are recorded; None where there is none yet.
        folder: to write; None for exports/<id> in the results folder.

    Returns:
        The folder.

    Raises:
        InputError: there is no such run, it has no adapter, or the folder holds something else.
        Failure: the record or the adapter is gone or damaged.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run = find_run(given, results, store, scratch)
        folder = (folder or results / "exports" / run.id).resolve()
        check_target(folder)
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        stack.callback(shutil.rmtree, partial, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _fill(partial, run)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return folder


def _fill(folder: Path, run: Run) -> None:
    from bench.methods import is_ours

    record, base = run.record, base_of(run.record)
    config = json.loads((run.adapter / CONFIG).read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base.name, "revision": base.revision}
    write_json(folder / CONFIG, config)
    shutil.copyfile(run.adapter / WEIGHTS, folder / WEIGHTS)
    size = (folder / WEIGHTS).stat().st_size
    write_json(folder / "record.json", shared_record(record))
    compared = method_comparison(record, config, size, run.created_at)
    write_json(folder / "method_comparison.json", compared)
    card = model_card(record, is_ours(str(config.get("peft_type"))), run.created_at)
    write_text(folder / "README.md", card)
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, {"identity": record["identity"], "files": files})


def check_target(folder: Path) -> None:
    """Refuse to write over what an export did not write.

    Raises:
        InputError: the folder holds something else, or something that was changed since.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"action.folder={folder} is a file: name a folder")
    there = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
    if not there:
        return
    try:
        written = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        known = {folder / name: digest for name, digest in written.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"action.folder={folder} is not empty, and no export wrote it: name a new folder"
        ) from None
    others = [
        path.relative_to(folder).as_posix()
        for path in there
        if path.name != MANIFEST and _sha256(path) != known.get(path)
    ]
    if others:
        raise InputError(
            f"action.folder={folder} holds what its export did not write, or what was changed "
            f"since: {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}. Name a new folder"
        )


def find_run(given: str, results: Path, store: Store | None, scratch: Path) -> Run:
    """A finished run with its adapter, from its folder or from the store.

    Args:
        given: its id, its beginning, or its folder.
        results: the results folder.
        store: where runs are recorded, or None.
        scratch: where what only the store has is downloaded to.

    Raises:
        InputError: there is no such run, or it has no adapter.
        Failure: the store has it, but its record or its adapter is gone.
    """
    folder = Path(given).expanduser()
    if folder.is_dir():
        folder = folder.parent if folder.name == "adapter" else folder
        record = _read_record(folder / "record.json")
        run_id = str(record.get("run_id"))
    else:
        run_id, identity = _on_record(given, results, store)
        assert store is not None
        record = store.record(run_id)
        folder = results / "runs" / identity[:12]
    if record.get("kind") == PRETRAIN:
        raise InputError(
            f"run {given} pretrained a base, which needs no export: {folder / 'model'} is a folder "
            "as save_pretrained writes it, and model=local model.path=... takes it"
        )
    lacking = [key for key in NEEDED if key not in record]
    if lacking:
        raise InputError(f"the record of run {given} has no {', '.join(lacking)}")
    if not record["rows"].get("train"):
        raise InputError(
            f"run {given} ({record['method']}) trained nothing, so it has no adapter: export the "
            "run that made the one it evaluated"
        )
    began = store.began(run_id) if store else None
    adapter = folder / "adapter"
    if not (adapter / WEIGHTS).is_file() and store and began is not None:
        adapter = store.download(run_id, "adapter", scratch)
    _check_adapter(adapter)
    created_at = began and datetime.fromtimestamp(began, UTC).isoformat("T", "seconds")
    return Run(record, adapter, created_at or None)


def _on_record(given: str, results: Path, store: Store | None) -> tuple[str, str]:
    """The store's id and the identity of the newest finished run that an id's beginning names."""
    hint = "make dashboard lists the runs, and the folders in results/runs have their ids"
    if store is None:
        raise InputError(
            f"action.run={given}: no such folder, and no run is on record in {results} yet: run "
            "something first, e.g. python bench/run.py method=hyplora"
        )
    wanted = given.strip().casefold()
    if re.fullmatch(r"[0-9a-f]+", wanted):
        if len(wanted) < SHORTEST:
            raise InputError(f"action.run={given} is too short: give {SHORTEST} characters or more")
        found = store.finished_like(wanted)
        if len(set(found.values())) == 1:
            return next(iter(found.items()))
        if found:
            ids = ", ".join(sorted({identity[:12] for identity in found.values()})[:10])
            raise InputError(f"action.run={given} begins the ids of several runs: {ids}")
    known = [identity[:12] for identity in store.finished_like("").values()]
    near = difflib.get_close_matches(wanted[:12], known, n=3, cutoff=0.6)
    told = f" Did you mean {' or '.join(near)}?" if near else ""
    raise InputError(f"action.run={given}: no finished run has that id.{told} {hint}")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"action.run={path.parent}: no record.json there; give the folder of a finished run, "
            "like results/runs/<id>"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}") from error
    if not isinstance(record, Mapping):
        raise InputError(f"{path} is no record of a run")
    return dict(record)


def _check_adapter(folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise Failure(f"the run's adapter is gone: no {name} in {folder} and in the store")
    try:
        with safe_open(folder / WEIGHTS, "np") as weights:
            weights.keys()
        json.loads((folder / CONFIG).read_text(encoding="utf-8"))["peft_type"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(f"the adapter in {folder} is damaged: {error}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
