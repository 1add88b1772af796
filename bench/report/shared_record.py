"""The part of a run's record that can be published, and its base."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from bench.report.records import Record

EMBEDDED = "bench/models/tiny"
UNSHARED = re.compile(r"[+~]*(tracking\.|hydra[./]launcher|hydra\.sweeper\.storage)")
PATH = re.compile(r"(/|~|\.\.?/|[A-Za-z]:[\\/])[^\n]*$")


@dataclass(frozen=True)
class Base:
    """The base model of a run.

    Attributes:
        name: a hub id, `EMBEDDED`, or the name of a local folder.
        revision: the commit that was loaded, else the one requested; None if not from the hub.
        kind: `hub`, `embedded` or `local`.
        dtype: dtype of its weights, e.g. `float32`.
        quantization: `int8`, `nf4` or None.
        content: hash of its files; for the hub `name@revision`.
    """

    name: str
    revision: str | None
    kind: str
    dtype: str
    quantization: str | None
    content: str


def base_of(record: Record) -> Base:
    """The base in a run's record."""
    settings, content = record["config"]["model"], str(record["hashes"]["base"])
    path = str(settings["path"])
    name, revision, kind = _last(path), None, "local"
    if path == "embedded":
        name, kind = EMBEDDED, "embedded"
    elif content.startswith(f"{path}@"):
        name, revision, kind = path, record["base_commit"] or settings["revision"], "hub"
    dtype = record["dtype"].removeprefix("torch.")
    return Base(name, revision, kind, dtype, settings["quantization"], content)


def shared_record(record: Record) -> dict[str, Any]:
    """A record without its tracking settings and without the folders of its paths."""
    config = {key: value for key, value in record["config"].items() if key != "tracking"}
    return without_folders({**record, "config": config})


def shared_arguments(arguments: Iterable[str]) -> tuple[str, ...]:
    """A command's arguments without those that are specific to one machine."""
    words = [word.partition("=") for word in arguments if not UNSHARED.match(word)]
    return tuple(key + equals + without_folders(value) for key, equals, value in words)


def without_folders(value: Any) -> Any:
    """Plain data in which each path is replaced by its last part."""
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    return _last(value) if isinstance(value, str) and PATH.match(value) else value


def _last(path: str) -> str:
    return PurePath(os.path.normpath(path.replace("\\", "/"))).name or path
