"""Whether what was read is a record that tables and figures can be made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NUMBER = (int, float)
NEEDED: dict[str, Any] = {
    "identity": str, "method": str, "model": str, "data": str, "protocol": str, "scores": dict,
    "training": dict,
}  # fmt: skip
# May be missing or null.
ALLOWED: dict[str, Any] = {
    "curvature": (*NUMBER, str), "seed": int, "split": str, "published_base": str, "device": str,
    "parameters": dict, "seconds": dict, "rows": dict, "options": dict, "train": dict,
    "hashes": dict, "config": dict, "git": dict, "overlap": dict, "forgetting": dict,
    "data_files": dict, "result_version": int,
}  # fmt: skip
PRETRAINING_NEEDED: dict[str, Any] = {
    "identity": str, "model": str, "size": str, "seed": int, "train": dict, "training": dict,
    "hashes": dict, "choices": dict, "device": str, "git": dict, "tokens_per_second": NUMBER,
    "utilisation": NUMBER,
}  # fmt: skip
TRAINING_NEEDED: dict[str, Any] = {
    "bits_per_byte": NUMBER, "blocks": dict, "order": str, "parameters": dict, "layers": dict,
    "initialisations": dict, "held_out": list, "curvatures": list,
}  # fmt: skip
SCORE_NEEDED: dict[str, Any] = {"n": int, "accuracy": NUMBER}
SCORE_ALLOWED: dict[str, Any] = {
    "label": str, "chance": NUMBER, "rule": str, "correct": int, "outcomes": str,
    "format_rate": NUMBER, "majority": dict, "too_long": int,
}  # fmt: skip
MOMENTS = ("start", "end")  # at which gates are measured


def incomplete(record: Any) -> str:
    """What a record lacks, or has and should not, in words; empty where all is well.

    Args:
        record: as it was read.
    """
    wrong = _unlike(record, NEEDED, ALLOWED)
    if wrong:
        return wrong
    for key, score in record["scores"].items():
        wrong = _unlike(score, SCORE_NEEDED, SCORE_ALLOWED)
        if wrong:
            return f"{wrong} in the score on {key}"
    gates = record["training"].get("gates")
    if gates and not all(isinstance(gates.get(moment), list) for moment in MOMENTS):
        return "has gates of one moment alone"
    return ""


def incomplete_pretraining(record: Any) -> str:
    """The same of a pretraining run's record."""
    wrong = _unlike(record, PRETRAINING_NEEDED, {})
    return wrong or _unlike(record["training"], TRAINING_NEEDED, {})


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
