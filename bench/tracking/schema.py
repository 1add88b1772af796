"""The keys and types that a record needs, so that tables and figures can be made from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.tracking.record import PRETRAIN

NUMBER = (int, float)
NEEDED: dict[str, Any] = {
    "identity": str, "method": str, "model": str, "data": str, "protocol": str, "split": str,
    "scores": dict, "training": dict, "parameters": dict, "seconds": dict, "rows": dict,
    "options": dict, "train": dict, "hashes": dict, "config": dict, "git": dict, "device": str,
    "result_version": int,
}  # fmt: skip
# May be missing or null.
ALLOWED: dict[str, Any] = {
    "curvature": (*NUMBER, str), "seed": int, "published_base": str, "overlap": dict,
    "nll": dict, "forgetting": dict, "data_files": dict, "sweeps": list,
}  # fmt: skip
PRETRAINING_NEEDED: dict[str, Any] = {
    "identity": str, "model": str, "size": str, "seed": int, "train": dict, "training": dict,
    "split": str, "text": dict, "hashes": dict, "choices": dict, "device": str, "git": dict,
    "tokens_per_second": NUMBER, "utilisation": NUMBER,
}  # fmt: skip
TRAINING_NEEDED: dict[str, Any] = {
    "bits_per_byte": NUMBER, "blocks": dict, "order": str, "parameters": dict, "layers": dict,
    "initialisations": dict, "validation": list, "curvatures": list,
}  # fmt: skip
SCORE_NEEDED: dict[str, Any] = {
    "n": int, "accuracy": NUMBER, "correct": int, "outcomes": str, "format_rate": NUMBER,
    "label": str, "rule": str, "majority": dict, "too_long": int,
}  # fmt: skip
SCORE_ALLOWED: dict[str, Any] = {"chance": NUMBER, "nll": NUMBER}
MOMENTS = ("start", "end")  # at which gates are measured


def incomplete(record: Any) -> str:
    """What is missing in a record or has a wrong type, in words; empty if it is complete."""
    if isinstance(record, dict) and record.get("kind") == PRETRAIN:
        wrong = _unlike(record, PRETRAINING_NEEDED, {})
        return wrong or _unlike(record["training"], TRAINING_NEEDED, {})
    if wrong := _unlike(record, NEEDED, ALLOWED):
        return wrong
    for key, score in record["scores"].items():
        if wrong := _unlike(score, SCORE_NEEDED, SCORE_ALLOWED):
            return f"{wrong} in the score on {key}"
    gates = record["training"].get("gates")
    if gates and not all(isinstance(gates.get(moment), list) for moment in MOMENTS):
        return "has gates of one moment only"
    return ""


def _unlike(found: Any, needed: Mapping[str, Any], allowed: Mapping[str, Any]) -> str:
    if not isinstance(found, dict):
        return "is no record"
    for key, kind in {**needed, **allowed}.items():
        value = found.get(key)
        if value is None:
            if key in needed:
                return f"has no {key}"
        elif not isinstance(value, kind) or isinstance(value, bool):
            return f"has {value!r:.40} as {key}"
        elif isinstance(value, float) and not math.isfinite(value):
            return f"has {value} as {key}"
    return ""
