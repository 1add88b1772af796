"""Atomic writing of files, and reading of those that can be made again."""

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


def read_cache(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file that can be made again; None if it is gone or damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # nested too deeply
        return None
    return content if isinstance(content, dict) else None


def is_whole(path: Path) -> bool:
    """Whether a file of safetensors is as long as its header says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np"):
            return True
    except (OSError, SafetensorError):
        return False


def as_json(value: Any) -> str:
    """A value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
