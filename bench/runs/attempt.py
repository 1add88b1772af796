"""An attempt at a run: what an earlier one left in the folder, and how this one ends."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.errors import InputError, Pruned, printable
from bench.files import write_text
from bench.tracking.store import Store


@contextmanager
def attempt(store: Store, run_id: str, folder: Path) -> Iterator[None]:
    """Record a failure of the block: KILLED for Ctrl-C and `Pruned`, else FAILED.

    After bad input a folder that holds nothing but the lock is removed. After success the
    checkpoints are.

    Args:
        store: where the run was started.
        run_id: its id there.
        folder: the run's, which is locked.
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
        entry.name == "lock" or (entry.is_dir() and not any(entry.iterdir()))
        for entry in folder.iterdir()
    )


def empty_folder(folder: Path) -> None:
    """Empty the folder of a finished run that is forced to run again; its lock is held.

    record.json goes last: as long as it exists, all other files are the old run's.
    """
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == "record.json"):
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def finished_training(folder: Path, weights: Path) -> dict[str, Any] | None:
    """What training.json recorded of a training that ended; None to train (again).

    Args:
        folder: of the run.
        weights: a file of what was trained; without it the training is repeated.
    """
    facts = folder / "training.json"
    if not (facts.is_file() and weights.is_file()):
        return None
    try:
        return json.loads(facts.read_text(encoding="utf-8"))
    except ValueError:
        return None
