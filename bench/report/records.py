"""What a table needs from a run's record: the question it answers, and the settings of its row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.files import digest
from bench.tracking.record import PRETRAIN, TRAINING_PROTOCOL_KEYS

Record = Mapping[str, Any]

# Runs that differ here did not answer the same question; the names of a base do not matter.
SHARED = ("model", "published_base", "data", "protocol", "split", "result_version")
NAMES = ("model", "published_base")
# How the weights of the base are loaded.
LOADED = ("dtype", "quantization", "context")
# Of a protocol: its names, and what the hash of the training rows covers.
NAMES_ONLY = ("name", "style", "keep_overlap")
# Training settings that depend on the machine and do not change the result.
MACHINE_ONLY = (
    "micro_batch_size",
    "micro_tokens",
    "devices",
    "sharded",
    "compile",
    "workers",
    "validations",
    "checkpoint_minutes",
)
PRETRAIN_MACHINE_ONLY = ("checkpoint_minutes", "evaluations", "micro_rows", "devices", "sharded")
# Facts that training does not depend on.
TESTED = ("test rows", "evaluation dtype", "evaluation prompt")
OWN = ("lr", "warmup")  # settings of pretraining that each model has for itself


def question(record: Record) -> dict[str, Any]:
    """What a run was trained and tested on, as hashes; the same for all runs of a table.

    For a planned run, it has the facts that are known before it runs.
    """
    hashes = {key: str(value)[:10] for key, value in (record.get("hashes") or {}).items() if value}
    if record.get("kind") == PRETRAIN:
        text = {key: hashes[key] for key in ("text", "tokenizer")}
        train = _without(record["train"], (*PRETRAIN_MACHINE_ONLY, *OWN))
        return {"size": record["size"], "split": record["split"], **text, **train}
    config = record.get("config") or {}
    model, protocol = config.get("model"), config.get("protocol")
    found = {
        "base content": hashes.get("base"),
        "base dtype and quantization": model
        and digest({key: model.get(key) for key in LOADED}, 10),
        "test rows": hashes.get("tests"),
        "evaluation dtype": (config.get("evaluation") or {}).get("dtype"),
        "evaluation prompt": protocol and _prompt(protocol, trained=False),
        "precision": (record.get("train") or {}).get("precision"),
    }
    if record.get("seed") is not None:
        found["training rows"] = hashes.get("train")
        found["training prompt"] = protocol and _prompt(protocol, trained=True)
    known = {name: value for name, value in found.items() if value is not None}
    return {name: record.get(name) for name in SHARED} | known


def answers(part: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Whether runs of one question belong to another: they are tested on the same or a part of it.

    The base model answers the question of each training on its rows.
    """
    return all(whole.get(key) == value for key, value in part.items() if key not in NAMES)


def check_comparable(records: Sequence[Record]) -> None:
    """Check that runs can be in one table.

    Raises:
        ValueError: there are none, or they differ in base, data or protocol.
    """
    if not records:
        raise ValueError("no finished runs to make a table of: run the sweep first, then report")
    if not all(record["scores"] for record in records):
        raise ValueError("its runs were evaluated on no rows (evaluation.split=none)")
    found = [
        question(record)
        | {"set of test items": ", ".join(f"{k} {s['n']}" for k, s in record["scores"].items())}
        for record in records
    ]
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


def row_key(record: Record) -> str:
    """Digest of all settings of a run except its seed."""
    if record.get("kind") == PRETRAIN:
        train = _without(record["train"], PRETRAIN_MACHINE_ONLY)
        facts = [record["model"], record["size"], train, record["choices"]]
    else:
        # 1 and 1.0 are the same curvature.
        options = {
            key: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
            for key, value in record["options"].items()
        }
        facts = [record["method"], options, training_settings(record), _adapter(record)]
    return digest(facts, 12)


def tuning_key(run: Record, tuned: Iterable[str]) -> str:
    """Digest of what the runs of a row share while settings are chosen for it.

    Args:
        run: planned or finished.
        tuned: what is chosen: `train.NAME`, and of a pretraining run `action.NAME`.
    """
    names = {name.rpartition(".")[2] for name in tuned}
    run = {**run, "train": _without(run["train"], names)}
    facts = _without(question(run), (*NAMES, "data", "protocol", "split", *TESTED))
    return digest([row_key(run), facts], 12)


def settings(record: Record) -> dict[str, Any]:
    """All settings that can make a row, by name: an option's, `train.lr`, ..., and `adapter`."""
    if record.get("kind") == PRETRAIN:
        return {**record["choices"], **{name: record["train"][name] for name in OWN}}
    train = {f"train.{key}": value for key, value in training_settings(record).items()}
    return train | (record.get("options") or {}) | {"adapter": _adapter(record)}


def training_settings(run: Record) -> dict[str, Any]:
    """The training settings that can change a result; empty without training."""
    if run.get("seed") is None:
        return {}
    if run["train"].get("keep", "last") == "last":  # then validation does not change the result
        return _without(run["train"], (*MACHINE_ONLY, "keep", "validate_every"))
    return _without(run["train"], set(MACHINE_ONLY) - {"validations"})


def _adapter(record: Record) -> str | None:
    content = (record.get("hashes") or {}).get("adapter")
    return content[:10] if content else None


def _prompt(protocol: Mapping[str, Any], trained: bool) -> str:
    used = [key for key in protocol if (key in TRAINING_PROTOCOL_KEYS) == trained]
    return digest({key: protocol[key] for key in used if key not in NAMES_ONLY}, 10)


def _without(facts: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in names}
