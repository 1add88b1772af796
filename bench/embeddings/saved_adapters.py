"""Saved adapters as models that are loaded when they are measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.config import Experiment
from bench.embeddings.hidden import Tuned
from bench.errors import InputError
from bench.names import curvature_rank, method_label, method_rank
from bench.tracking.contents import read_contents
from bench.tracking.store import Store

Record = Mapping[str, Any]
Loader = Callable[[Path], Any]
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
    load = partial(_load, experiment, hashes["base"])
    if folders is not None:
        return [_from_folder(Path(folder).expanduser(), load) for folder in folders]
    chosen = one_of_each(read_contents(store).records, hashes)
    chosen.sort(key=lambda r: (method_rank(r["method"]), curvature_rank(r["curvature"])))
    return [_tuned(r, _adapter(r, experiment.results, store, copies), load) for r in chosen]


def one_of_each(records: Iterable[Record], hashes: Mapping[str, str]) -> list[Record]:
    """One trained run for each method and curvature.

    Of several the one with the most trainable weights (all layers before a few), then the one with
    the lowest seed, then the newest.

    Args:
        records: of finished runs, the newest first.
        hashes: content hashes that they must share.
    """
    chosen: dict[tuple[str, Any], Record] = {}
    for record in records:
        trained = record["seed"] is not None and record["parameters"]["trainable"] > 0
        if not trained or any(record["hashes"].get(k) != value for k, value in hashes.items()):
            continue
        key = (record["method"], record["curvature"])
        if key not in chosen or _rank(record) < _rank(chosen[key]):
            chosen[key] = record
    return list(chosen.values())


def _rank(record: Record) -> tuple[int, int]:
    return -record["parameters"]["trainable"], record["seed"]


def _adapter(record: Record, results: Path, store: Store, copies: Path) -> Path:
    """The folder of a run's adapter: the run's own, or a copy from the store."""
    folder = results / "runs" / record["identity"][:12] / "adapter"
    if all((folder / name).is_file() for name in FILES):
        return folder
    copy = copies / record["run_id"]
    copy.mkdir()
    return store.download(record["run_id"], "adapter", copy)


def _from_folder(folder: Path, load: Loader) -> Tuned:
    """An adapter given by its folder or its run's; the run's record, if there is one, names it."""
    if not (folder / FILES[0]).is_file() and (folder / "adapter").is_dir():
        folder = folder / "adapter"
    for name in FILES:
        if not (folder / name).is_file():
            raise InputError(
                f"action.adapters: {folder} has no {name}; give the folders of saved adapters, "
                "like 'action.adapters=[results/runs/ID/adapter]'"
            )
    record = folder.parent / "record.json"
    if folder.name == "adapter" and record.is_file():
        try:
            return _tuned(json.loads(record.read_text(encoding="utf-8")), folder, load)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # a damaged record costs the label only
    return Tuned(str(folder), None, None, None, partial(load, folder))


def _tuned(record: Record, folder: Path, load: Loader) -> Tuned:
    method, curvature = record["method"], record["curvature"]
    label, run = method_label(method, curvature), record["identity"][:12]
    return Tuned(label, method, curvature, run, partial(load, folder))


def _load(experiment: Experiment, base_hash: str, folder: Path) -> Any:
    from bench.models.loading import pick_device
    from bench.models.shared import shared_base
    from bench.training.adapters import load_adapter

    base, _ = shared_base(experiment.model, base_hash, pick_device())
    return load_adapter(base, folder)
