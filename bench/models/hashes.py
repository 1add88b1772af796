"""Content hashes of files, kept by path, size and modification time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bench.files import read_cache, write_json


def files_hash(files: Mapping[str, Path], cache: Path | None = None) -> str:
    """sha256 over files by name.

    `cache` is a JSON file with hashes by path, size and modification time of files.
    """
    known = (read_cache(cache) if cache else None) or {}
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}:{_file_hash(path, known)}\n".encode())
    _keep(known, cache)
    return digest.hexdigest()


def file_hash(path: Path, cache: Path | None = None) -> str:
    """sha256 of one file; `cache` as in `files_hash`."""
    known = (read_cache(cache) if cache else None) or {}
    found = _file_hash(path, known)
    _keep(known, cache)
    return found


def _file_hash(path: Path, known: dict[str, str]) -> str:
    stat = path.stat()
    key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    if not isinstance(known.get(key), str):
        with path.open("rb") as stream:
            known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return known[key]


def _keep(known: dict[str, str], cache: Path | None) -> None:
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, known)
