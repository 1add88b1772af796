"""Atomic writing and locking of files, reading of those that can be rebuilt, and JSON."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.errors import printable

SILENT = 1.0  # seconds of waiting for a lock without a message
STALE = 3600.0  # seconds after which a temporary file is one of a process that was killed


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Lock a file that protects `what`.

    The file names the process that holds the lock, for the message of a process that waits.
    """
    lock = FileLock(path)

    # The holder of a run's lock may remove the folder with it; a try creates it again.
    def is_taken() -> bool:
        with suppress(Timeout, FileNotFoundError):
            lock.acquire(timeout=0)
        return lock.is_locked

    def holder() -> str | None:
        with suppress(FileNotFoundError):
            return path.read_text(errors="replace")
        return None

    acquire(what, is_taken, holder)
    try:
        with suppress(OSError):  # a full disk: the lock is held, only the message is lost
            path.write_text(this_process())
        yield
    finally:
        lock.release()


def acquire(what: str, take: Callable[[], bool], holder: Callable[[], str | None]) -> None:
    """Acquire a lock; after `SILENT` seconds a message says who holds it.

    Args:
        what: the lock protects, for the message.
        take: takes the lock if it is free; returns whether it did.
        holder: what the process that holds it wrote, see `this_process`; may be empty.
    """
    silent_until = time.monotonic() + SILENT
    while not take():
        if time.monotonic() > silent_until:
            found = printable((holder() or "").strip()) or "another process"
            print(f"waiting for {what}, in use by {found}", flush=True)
            silent_until = math.inf
        time.sleep(0.05)


def this_process() -> str:
    """A description of the holder of a lock: process, machine and time."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}"


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text in UTF-8, without newline translation.

    Surrogates, which arguments in an ASCII locale may have, are escaped as JSON escapes them.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a temporary file in the same folder and rename it.

    Readers never see a partial file, a kill or a full disk leaves the old one, and concurrent
    writers do not mix. What a killed writer of the same file left behind is removed after `STALE`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    for other in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with suppress(OSError):  # another process may remove it, too
            if time.time() - other.stat().st_mtime > STALE:
                other.unlink()
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A new empty folder that takes the place of `folder` if the block ends without an error."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """`write_text` of a value as indented JSON."""
    write_text(path, as_json(value))


def read_cache(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file that can be rebuilt; None if it is gone or damaged."""
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


def sqlite_url(path: Path) -> str:
    """The address of a sqlite file, in which `%` and `?` of its path are escaped."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def as_json(value: Any) -> str:
    """A value as indented JSON that can be encoded: surrogates are escaped, as in `write_text`."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()


def digest(value: Any, length: int = 64) -> str:
    """The first hexadecimal digits of the sha256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]
