"""Which records may stand in one table, and which of them form one row."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.report.names import curvature_rank, method_label, method_rank
from bench.tracking.record import TRAINING_PROTOCOL_KEYS

Record = Mapping[str, Any]

# Two runs that differ here did not answer the same question, so no table holds both.
SHARED = {
    "model": None,
    "published_base": None,
    "data": None,
    "protocol": None,
    "split": "test",
    # Records of before it was written down are of the second.
    "result_version": 2,
}
# Of the base, beside its contents: what its weights are held in.
HELD = ("dtype", "quantization", "context")
# Of a protocol: what names it, and what the contents of the training rows say.
NAMES_ONLY = ("name", "style", "keep_overlap")
# What a run may choose for its machine without changing its result.
MACHINE_ONLY = ("micro_batch_size", "devices", "workers", "validations", "checkpoint_minutes")


def check_comparable(records: Sequence[Record]) -> None:
    """Check that runs may be in one table.

    Raises:
        ValueError: there are none, or they differ in base, data or protocol.
    """
    if not records:
        raise ValueError("no finished runs to make a table of: run the sweep first, then report")
    found = [asked(record) | taught(record) | _sizes(record) for record in records]
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


def _sizes(record: Record) -> dict[str, str]:
    scores = record["scores"].items()
    return {"set of test items": ", ".join(f"{key} {score['n']}" for key, score in scores)}


def select(records: Iterable[Record]) -> list[Record]:
    """Drop repeated identities, keeping the first, and check that the rest may be compared."""
    kept = list({record["identity"]: record for record in reversed(list(records))}.values())[::-1]
    check_comparable(kept)
    return kept


def asked(record: Record) -> dict[str, Any]:
    """Which question a run answers: the base as it is held, the test rows, how they are asked.

    Runs of one table agree in all of it; contents are told by a hash. What a record does not say
    is left out.
    """
    config, hashes = record.get("config") or {}, record.get("hashes") or {}
    protocol = config.get("protocol")
    held = {name: config["model"].get(name) for name in HELD} if config.get("model") else None
    found = {
        "base's contents": _short(hashes.get("base")),
        "base as held": held and _digest(held),
        "test rows": _short(hashes.get("tests")),
        "way of asking": protocol and _digest(_protocol(protocol, trained=False)),
        "precision": (record.get("train") or {}).get("precision"),
    }
    facts = {name: record.get(name, default) for name, default in SHARED.items()}
    return facts | {name: value for name, value in found.items() if value is not None}


def taught(record: Record) -> dict[str, Any]:
    """What a run was trained on, the rows and their prompts, by a hash; empty for no training."""
    if record.get("seed") is None:
        return {}
    protocol = (record.get("config") or {}).get("protocol")
    found = {
        "training rows": _short((record.get("hashes") or {}).get("train")),
        "training prompt": protocol and _digest(_protocol(protocol, trained=True)),
    }
    return {name: value for name, value in found.items() if value is not None}


def _protocol(protocol: Mapping[str, Any], trained: bool) -> dict[str, Any]:
    return {
        key: value
        for key, value in protocol.items()
        if (key in TRAINING_PROTOCOL_KEYS) == trained and key not in NAMES_ONLY
    }


def _short(hashed: str | None) -> str | None:
    return hashed[:10] if hashed else None


def _digest(facts: Mapping[str, Any]) -> str:
    # A key that is not set says the same as one that a record of before does not have.
    told = {key: value for key, value in facts.items() if value not in (None, False)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]


def setting(record: Record, name: str) -> Any:
    """What may tell rows apart: `train.lr`, `adapter` (its contents), or an option of a method."""
    section, _, key = name.rpartition(".")
    if section == "train":
        return training_settings(record).get(key)
    if name == "adapter":
        return _short((record.get("hashes") or {}).get("adapter"))
    return (record.get("options") or {}).get(name)


def group(records: Sequence[Record], apart: Mapping[str, Any]) -> list[list[Record]]:
    """Sort records into rows: one for each method and curvature, its runs ordered by seed.

    Args:
        records: Finished runs.
        apart: Settings (see `setting`) whose values make rows of their own, too.

    Raises:
        ValueError: The runs of a row differ in more than the seed; their mean would mix settings.
    """
    rows: dict[tuple[str, float | str, tuple[str, ...]], list[Record]] = {}
    for record in records:
        values = tuple(str(setting(record, name)) for name in apart)
        rows.setdefault((record["method"], record.get("curvature") or 0.0, values), []).append(
            record
        )
    for runs in rows.values():
        runs.sort(key=lambda run: -1 if run.get("seed") is None else run["seed"])
        _differ_in_seed_alone(runs)
    # Rows that only an option tells apart stay in the order of the records.
    order = sorted(rows, key=lambda key: (method_rank(key[0]), curvature_rank(key[1])))
    return [rows[key] for key in order]


def _differ_in_seed_alone(runs: Sequence[Record]) -> None:
    first = runs[0]
    label = method_label(first["method"], first.get("curvature"))
    for run in runs[1:]:
        unlike = sorted({name for name, _ in settings_of(run).items() ^ settings_of(first).items()})
        if unlike:
            shown = "; ".join(
                f"{name}: {settings_of(first).get(name)} and {settings_of(run).get(name)}"
                for name in unlike
            )
            raise ValueError(
                f"{label}: the runs of a row may differ in their seed alone, but these differ in "
                f"{shown}. Give the runs of one setting"
            )
    seeds = [run.get("seed") for run in runs]
    for seed in seeds:
        if seeds.count(seed) > 1:
            twins = ", ".join(run["identity"][:12] for run in runs if run.get("seed") == seed)
            where = "no seed" if seed is None else f"seed {seed}"
            raise ValueError(
                f"{label}: {seeds.count(seed)} different runs with {where} (identities {twins}), "
                "and a mean over seeds may count one. Give the runs of one sweep"
            )


def training_settings(run: Record) -> dict[str, Any]:
    """How a run was trained, less what changes no result; empty where nothing was trained."""
    if run.get("seed") is None:
        return {}
    train = dict(run.get("train") or {})
    left_out = set(MACHINE_ONLY)
    if train.get("keep", "last") == "last":  # then it does not matter when it was validated
        left_out |= {"keep", "validate_every"}
    else:
        left_out.discard("validations")
    return {k: v for k, v in train.items() if k not in left_out}


def settings_of(run: Record) -> dict[str, str]:
    """All that the runs of one row have in common, as text."""
    settings = {name: str(value) for name, value in training_settings(run).items()}
    settings |= {name: str(value) for name, value in (run.get("options") or {}).items()}
    settings["trainable parameters"] = str((run.get("parameters") or {}).get("trainable"))
    return settings
