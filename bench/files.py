"""Atomic writing of files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text in UTF-8, without newline translation."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a temporary file in the same folder and rename it.

    Readers never see a partial file, a kill or a full disk leaves the old one, and concurrent
    writers do not mix.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """`write_text` of a value as indented JSON."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """A value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def empty_run(folder: Path) -> None:
    """Empty the folder of a recorded run that is forced to run again; its lock is held.

    The record goes last: while it is there, a forced run knows that the rest is of the old one.
    """
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == "record.json"):
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()
