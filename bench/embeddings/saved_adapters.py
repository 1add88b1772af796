"""Saved adapters as models that are loaded when they are measured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.config import Experiment
from bench.embeddings.deltas import Tuned
from bench.errors import InputError
from bench.files import read_cache
from bench.models.loading import pick_device
from bench.models.shared import shared_base
from bench.names import curvature_rank, method_label, method_rank
from bench.tracking.contents import read_contents
from bench.tracking.store import Store
from bench.training.adapters import load_adapter

_log = logging.getLogger(__name__)

Record = Mapping[str, Any]
FILES = ("adapter_config.json", "adapter_model.safetensors")


def tuned_models(
    experiment: Experiment,
    hashes: Mapping[str, str],
    folders: Sequence[str] | None,
    store: Store,
    copies: Path,
) -> list[Tuned]:
    """A base after fine-tuning, once for each adapter.

    Args:
        experiment: names the base.
        hashes: content hashes of base, test rows and, if they were read, training rows.
        folders: of saved adapters, or of the runs that have them; None for the recorded runs'.
        store: holds the finished runs.
        copies: a folder for adapters that are only in the store; needed as long as the models are.

    Raises:
        InputError: a folder holds no adapter.
        Failure: the adapter of a run no longer exists.
    """

    def load(folder: Path) -> Any:
        return load_adapter(shared_base(experiment.model, hashes["base"], pick_device())[0], folder)

    if folders is None:
        results = experiment.tracking.results

        def has_adapter(record: Record) -> bool:
            return _own(record, results) is not None or store.has(record["run_id"], "adapter")

        chosen = one_of_each(read_contents(store).records, hashes, has_adapter)
        chosen.sort(key=lambda r: (method_rank(r["method"]), curvature_rank(r["curvature"])))
        found = [(_facts(r), _adapter(r, results, store, copies)) for r in chosen]
    else:
        found = [_from_folder(Path(folder).expanduser()) for folder in folders]
    return [Tuned(facts, partial(load, folder)) for facts, folder in found]


def one_of_each(
    records: Iterable[Record],
    hashes: Mapping[str, str],
    has_adapter: Callable[[Record], bool],
) -> list[Record]:
    """One trained run for each method and curvature.

    Of several the one with the most trainable weights (all layers before a few), then the one with
    the lowest seed, then the newest. Imported runs have no adapter.

    Args:
        records: of finished runs, the newest first.
        hashes: content hashes that they must share.
        has_adapter: whether the adapter of a run still exists.
    """
    trained = [
        record
        for record in records
        if record["seed"] is not None
        and record["parameters"]["trainable"] > 0
        and hashes.items() <= record["hashes"].items()
    ]
    trained.sort(key=lambda record: (-record["parameters"]["trainable"], record["seed"]))
    chosen: dict[tuple[str, Any], Record | None] = {}
    for record in trained:
        row = record["method"], record["curvature"]
        if chosen.get(row) is None:
            chosen[row] = record if has_adapter(record) else None
    for row, found in chosen.items():
        if found is None:
            _log.warning("left out: no run of %s has its adapter", method_label(*row))
    return [found for found in chosen.values() if found is not None]


def _facts(record: Record) -> dict[str, Any]:
    method, curvature = record["method"], record["curvature"]
    label, run = method_label(method, curvature), record["identity"][:12]
    return {"model": label, "method": method, "curvature": curvature, "run": run}


def _own(record: Record, results: Path) -> Path | None:
    folder = results / "runs" / record["identity"][:12] / "adapter"
    return folder if all((folder / name).is_file() for name in FILES) else None


def _adapter(record: Record, results: Path, store: Store, copies: Path) -> Path:
    """The folder of a run's adapter: the run's own, or a copy from the store."""
    if folder := _own(record, results):
        return folder
    copy = copies / record["run_id"]
    copy.mkdir()
    return store.download(record["run_id"], "adapter", copy)


def _from_folder(folder: Path) -> tuple[dict[str, Any], Path]:
    """An adapter given by its folder or its run's; the run's record, if there is one, names it."""
    if not (folder / FILES[0]).is_file() and (folder / "adapter").is_dir():
        folder = folder / "adapter"
    for name in FILES:
        if not (folder / name).is_file():
            raise InputError(
                f"action.adapters: {folder} has no {name}; give the folders of saved adapters, "
                "like 'action.adapters=[results/runs/ID/adapter]'"
            )
    try:
        record = read_cache(folder.parent / "record.json") or {}
        if folder.name == "adapter":
            return _facts(record), folder
    except (KeyError, TypeError):
        pass  # a missing or damaged record costs the label only
    return {"model": str(folder)} | dict.fromkeys(("method", "curvature", "run")), folder
