"""A run's record as it may leave this machine, and what it says of its base."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from bench.report.records import Record

EMBEDDED = "bench/models/tiny"
_DTYPES = {"32-true": "float32", "bf16-mixed": "bfloat16"}  # that go with a precision


@dataclass(frozen=True)
class Base:
    """The base model of a run, as someone else may name it.

    Attributes:
        name: a hub id, `EMBEDDED`, or the name of a local folder.
        revision: the commit that was loaded, or the one that was asked for; None where the base
            is not on the hub.
        kind: `hub`, `embedded` or `local`.
        dtype: of its weights.
        quantization: as the run held them, or None.
        content: hash of its files; of a hub's base its name and revision.
    """

    name: str
    revision: str | None
    kind: str
    dtype: str
    quantization: str | None
    content: str


def base_of(record: Record) -> Base:
    """What a run's record says of its base."""
    settings = record["config"]["model"]
    path, content = str(settings["path"]), str(record["hashes"]["base"])
    dtype = settings["dtype"]
    if dtype == "auto":
        dtype = _DTYPES.get(str(record["train"].get("precision")), "auto")
    quantization = settings.get("quantization")
    if path == "embedded":
        return Base(EMBEDDED, None, "embedded", dtype, quantization, content)
    # Of a local folder the hash is of its files; of one on the hub it names it.
    if not content.startswith(f"{path}@"):
        return Base(_last(path), None, "local", dtype, quantization, content)
    revision = record.get("base_commit") or settings.get("revision")
    return Base(path, revision, "hub", dtype, quantization, content)


def shared_record(record: Record) -> dict[str, Any]:
    """A record without what is of one machine alone: where runs are kept, the folders of paths."""
    config = {key: value for key, value in record["config"].items() if key != "tracking"}
    return without_folders({**record, "config": config})


def without_folders(value: Any) -> Any:
    """Plain data in which each path is replaced by its last part."""
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and re.match(r"(/|~|\.\.?/|[A-Za-z]:[\\/])[^\n]*$", value):
        return _last(value)
    return value


def _last(path: str) -> str:
    return PurePath(os.path.normpath(path.replace("\\", "/"))).name or path
