"""An attempt at a run: its lock, what an earlier one left in the folder, and how it ends."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.errors import InputError, Pruned, printable
from bench.files import is_whole, read_cache, write_text
from bench.tracking.reader import Unreachable
from bench.tracking.store import Store

LOCK = "lock"  # the file that is locked while a run is made


@contextmanager
def attempt(store: Store, run_id: str, folder: Path) -> Iterator[None]:
    """Record a failure of the block: KILLED for Ctrl-C and `Pruned`, else FAILED.

    After bad input a run's folder that holds nothing but the lock is removed. After success the
    checkpoints are.
    """
    failure = folder / "failure.txt"
    failure.unlink(missing_ok=True)
    try:
        yield
    except (KeyboardInterrupt, Pruned) as error:
        store.fail(run_id, "KILLED", str(error) or "interrupted from the keyboard")
        raise
    except BaseException as error:
        reason = printable(traceback.format_exc())
        if not isinstance(error, Unreachable):
            store.fail(run_id, "FAILED", reason)
        if isinstance(error, InputError) and _is_empty(folder):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with suppress(OSError):  # on a full disk the original error matters
            write_text(failure, reason)
        raise
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def _is_empty(folder: Path) -> bool:
    """Whether a run's folder holds only the lock and empty folders."""
    return all(
        entry.name == LOCK or (entry.is_dir() and not any(entry.iterdir()))
        for entry in folder.iterdir()
    )


def empty_folder(folder: Path) -> None:
    """Empty the folder of a finished run that is forced to run again; its lock is held.

    record.json goes last: as long as it exists, all other files are the old run's.
    """
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == "record.json"):
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def remove_partial(folder: Path) -> None:
    """Remove the partial files that a killed process left in a folder, whose lock is held."""
    for path in list(folder.rglob("*.partial")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def finished_training(folder: Path, config: Path) -> dict[str, Any] | None:
    """The content of training.json if the training has finished; None to train (again).

    It is repeated if the configuration of what was trained, or the weights next to it, are missing
    or damaged.
    """
    facts, weights = read_cache(folder / "training.json"), [*config.parent.glob("*.safetensors")]
    whole = read_cache(config) and weights and all(map(is_whole, weights))
    return facts if whole and facts and "parameters" in facts else None
