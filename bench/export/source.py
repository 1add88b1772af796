"""The run to export: its record and its adapter, from a folder or from the tracking store."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import Failure, InputError, did_you_mean
from bench.files import is_whole, read_cache
from bench.tracking.record import PRETRAIN
from bench.tracking.schema import incomplete
from bench.tracking.store import Store

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
SHORTEST = 4  # characters of an id


class Source(NamedTuple):
    """A finished run: its record, the folder of its adapter, and when it began (ISO 8601)."""

    record: dict[str, Any]
    adapter: Path
    created_at: str | None


def find_run(given: str, results: Path, store: Store | None, scratch: Path) -> Source:
    """A finished run by its id, a prefix of it, or its folder.

    An adapter that only the store has is put into `scratch`.

    Raises:
        InputError: no such run, or a run without an adapter.
        Failure: the record or the adapter is missing or damaged.
    """
    folder = Path(given).expanduser()
    if folder.is_dir():
        folder = folder.parent if folder.name == "adapter" else folder
        record = _read_record(folder)
        run_id = str(record.get("run_id"))
    else:
        if store is None:
            raise InputError(
                f"action.run={given}: no such folder, and no recorded runs in {results}: run "
                "something first, e.g. python bench/run.py method=hyplora"
            )
        run_id, identity = _recorded(given, store)
        record = store.record(run_id)
        folder = results / "runs" / identity[:12]
    if record.get("kind") == PRETRAIN:
        raise InputError(
            f"run {given} is a pretraining run without an adapter; its model is {folder / 'model'} "
            "in the format of save_pretrained: use it with model=local model.path=FOLDER"
        )
    if problem := incomplete(record):
        raise InputError(f"the record of run {given} {problem}")
    if not record["rows"].get("train"):
        raise InputError(
            f"run {given} ({record['method']}) was not trained and has no adapter: export the run "
            "that trained it"
        )
    if record["split"] != "test":
        raise InputError(
            f"run {given} has evaluation.split={record['split']}, and a model card reports the "
            "accuracy on test rows: export the same run with evaluation.split=test"
        )
    began = store.began(run_id) if store else None
    adapter = folder / "adapter"
    if not (adapter / WEIGHTS).is_file() and store and began is not None:
        adapter = store.download(run_id, "adapter", scratch)
    _check_adapter(adapter)
    created_at = began and datetime.fromtimestamp(began, UTC).isoformat("T", "seconds")
    return Source(record, adapter, created_at or None)


def _recorded(given: str, store: Store) -> tuple[str, str]:
    """The id in the store and the identity of the newest finished run with an id like this."""
    wanted = given.strip().casefold()
    if re.fullmatch(r"[0-9a-f]+", wanted):
        if len(wanted) < SHORTEST:
            raise InputError(f"action.run={given} is too short: give at least {SHORTEST} digits")
        found = store.finished_like(wanted)
        if len(found) == 1:
            return next(iter(found.items()))
        if found:
            ids = ", ".join(sorted(identity[:12] for identity in found.values())[:10])
            raise InputError(f"action.run={given} is ambiguous: give more digits of {ids}")
    known = [identity[:12] for identity in store.finished_like("").values()]
    hint = did_you_mean(wanted[:12], known)
    raise InputError(
        f"action.run={given}: no finished run has this id.{hint} The ids are the names of the "
        "folders in results/runs; make dashboard lists the runs"
    )


def _read_record(folder: Path) -> dict[str, Any]:
    record = read_cache(folder / "record.json")
    if record is None:
        raise InputError(
            f"action.run={folder}: its record.json is missing or damaged. Give the folder of a "
            "finished run, e.g. results/runs/ID"
        )
    return record


def _check_adapter(folder: Path) -> None:
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise Failure(f"the run's adapter is missing: no {name} in {folder} or in the store")
    if "peft_type" not in (read_cache(folder / CONFIG) or {}) or not is_whole(folder / WEIGHTS):
        raise Failure(f"the adapter in {folder} is damaged")
