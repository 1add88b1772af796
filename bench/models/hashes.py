"""Content hashes of files, kept by path, size and times of change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bench.files import read_cache, write_json


def files_hash(files: Mapping[str, Path], cache: Path | None = None) -> str:
    """sha256 over files by name.

    `cache` is a JSON file with hashes by path and size of files, and by the times at which content
    and inode changed: a copy may have the modification time of other content.
    """
    digest = hashlib.sha256()
    for name, found in sorted(_hashes(files, cache).items()):
        digest.update(f"{name}:{found}\n".encode())
    return digest.hexdigest()


def file_hash(path: Path, cache: Path | None = None) -> str:
    """sha256 of one file; `cache` as in `files_hash`."""
    return _hashes({"": path}, cache)[""]


def _hashes(files: Mapping[str, Path], cache: Path | None) -> dict[str, str]:
    known = (read_cache(cache) if cache else None) or {}
    before, found = dict(known), {}
    for name, path in files.items():
        stat = path.stat()
        key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"
        if not isinstance(known.get(key), str):
            with path.open("rb") as stream:
                known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        found[name] = known[key]
    if cache is not None and known != before:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, known)
    return found
