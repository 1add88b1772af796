"""Which runs can be in one table, and the settings that make a row."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bench.tracking.record import TRAINING_PROTOCOL_KEYS

Record = Mapping[str, Any]

# Runs that differ here did not answer the same question.
SHARED = ("model", "published_base", "data", "protocol", "split", "result_version")
# How the weights of the base are loaded.
LOADED = ("dtype", "quantization", "context")
# Of a protocol: its names, and what the hash of the training rows covers.
NAMES_ONLY = ("name", "style", "keep_overlap")
# Training settings that depend on the machine and do not change the result.
MACHINE_ONLY = ("micro_batch_size", "devices", "workers", "validations", "checkpoint_minutes")


def check_comparable(records: Sequence[Record]) -> None:
    """Check that runs can be in one table.

    Raises:
        ValueError: there are none, or they differ in base, data or protocol.
    """
    if not records:
        raise ValueError("no finished runs to make a table of: run the sweep first, then report")
    found = [asked(record) | taught(record) | _items(record) for record in records]
    for field in dict.fromkeys(name for facts in found for name in facts):
        counts = Counter(facts[field] for facts in found if field in facts)
        if len(counts) > 1:
            listed = ", ".join(
                f"{value!r} in {runs} of {len(records)} runs" for value, runs in counts.items()
            )
            raise ValueError(
                f"a table compares runs of one {field}, but these have {len(counts)}: {listed}. "
                "Give the runs of one of them"
            )


def asked(record: Record) -> dict[str, Any]:
    """The question that a run answers: base, test rows and prompt, with contents as a hash.

    Of a planned run it has the facts that are known before it runs.
    """
    config, hashes = record.get("config") or {}, record.get("hashes") or {}
    protocol = config.get("protocol")
    loaded = {name: config["model"].get(name) for name in LOADED} if config.get("model") else None
    found = {
        "base content": _short(hashes.get("base")),
        "base dtype and quantization": loaded and _digest(loaded),
        "test rows": _short(hashes.get("tests")),
        "evaluation prompt": protocol and _digest(_protocol(protocol, trained=False)),
        "precision": (record.get("train") or {}).get("precision"),
    }
    facts = {name: record.get(name) for name in SHARED}
    return facts | {name: value for name, value in found.items() if value is not None}


def taught(record: Record) -> dict[str, Any]:
    """The rows and the prompt that a run was trained on, as a hash; empty without training."""
    if record.get("seed") is None:
        return {}
    protocol = (record.get("config") or {}).get("protocol")
    found = {
        "training rows": _short((record.get("hashes") or {}).get("train")),
        "training prompt": protocol and _digest(_protocol(protocol, trained=True)),
    }
    return {name: value for name, value in found.items() if value is not None}


def _items(record: Record) -> dict[str, str]:
    scores = record["scores"].items()
    return {"set of test items": ", ".join(f"{key} {score['n']}" for key, score in scores)}


def _protocol(protocol: Mapping[str, Any], trained: bool) -> dict[str, Any]:
    return {
        key: value
        for key, value in protocol.items()
        if (key in TRAINING_PROTOCOL_KEYS) == trained and key not in NAMES_ONLY
    }


def _short(hashed: str | None) -> str | None:
    return hashed[:10] if hashed else None


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]


def setting(record: Record, name: str) -> Any:
    """A setting that can make a row: `train.lr`, `adapter` (its content), or a method's option."""
    section, _, key = name.rpartition(".")
    if section == "train":
        return training_settings(record).get(key)
    if name == "adapter":
        return _short((record.get("hashes") or {}).get("adapter"))
    return (record.get("options") or {}).get(name)


def training_settings(run: Record) -> dict[str, Any]:
    """The training settings that can change a result; empty without training."""
    if run.get("seed") is None:
        return {}
    train = dict(run["train"])
    left_out = set(MACHINE_ONLY)
    if train.get("keep", "last") == "last":  # then validation does not change the result
        left_out |= {"keep", "validate_every"}
    else:
        left_out.discard("validations")
    return {key: value for key, value in train.items() if key not in left_out}
