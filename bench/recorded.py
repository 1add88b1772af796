"""The adapters of finished runs, as models that are loaded when their turn comes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config import Experiment
from bench.errors import InputError
from bench.report.names import curvature_rank, method_label, method_rank
from bench.tracking.reader import Reader
from bench.tracking.store import Store

if TYPE_CHECKING:
    from bench.embeddings.hidden import Tuned

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
        hashes: content hashes of base, test rows and, where they were read, training rows.
        folders: of saved adapters, or of the runs that have them; None for those on record.
        store: holds the finished runs.
        copies: a folder for adapters that are only in the store; as long as the models are used.

    Raises:
        InputError: a folder holds no adapter.
        Failure: the adapter of a run is gone.
    """
    load = partial(_load, experiment, hashes["base"])
    if folders is not None:
        return [_named(Path(folder).expanduser(), load) for folder in folders]
    found = one_of_each(Reader(store).holdings().records, hashes)
    found.sort(key=lambda r: (method_rank(r["method"]), curvature_rank(r["curvature"])))
    return [
        _tuned(record, _adapter(record, experiment.results, store, copies), load)
        for record in found
    ]


def one_of_each(records: Iterable[Record], hashes: Mapping[str, str]) -> list[Record]:
    """One run for each method and curvature, of those with an adapter on the same base and rows.

    Of several the one that adapts the most weights, so that all layers stand before a few; then
    the one with the lowest seed; then the newest.

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
    """Where a run's adapter is: in its folder, or copied from the store."""
    folder = results / "runs" / record["identity"][:12] / "adapter"
    if all((folder / name).is_file() for name in FILES):
        return folder
    copy = copies / record["run_id"]
    copy.mkdir()
    return store.download(record["run_id"], "adapter", copy)


def _named(folder: Path, load: Loader) -> Tuned:
    """An adapter that the command names; a record beside it says what it is."""
    from bench.embeddings.hidden import Tuned

    if not (folder / FILES[0]).is_file() and (folder / "adapter").is_dir():
        folder = folder / "adapter"  # a run was named
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
            pass  # what it is called is all that is lost
    return Tuned(str(folder), None, None, None, partial(load, folder))


def _tuned(record: Record, folder: Path, load: Loader) -> Tuned:
    from bench.embeddings.hidden import Tuned

    method, curvature = record["method"], record["curvature"]
    label, run = method_label(method, curvature), record["identity"][:12]
    return Tuned(label, method, curvature, run, partial(load, folder))


def _load(experiment: Experiment, content: str, folder: Path) -> Any:
    from bench.models.loading import pick_device
    from bench.models.shared import shared_base
    from bench.training.adapters import load_adapter

    base, _ = shared_base(experiment.model, content, pick_device())
    return load_adapter(base, folder)
