"""Atomic writing of files."""

from __future__ import annotations

import json
import os
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


def sqlite_url(path: Path) -> str:
    """The address of a sqlite file, in which `%` and `?` of its path are escaped."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def as_json(value: Any) -> str:
    """A value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
