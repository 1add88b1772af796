"""An attempt at a run: however it ends is told to the store and stands in the run's folder."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import InputError, Pruned
from bench.files import write_text
from bench.tracking.store import Store


@contextmanager
def attempt(store: Store, run_id: str, folder: Path) -> Iterator[None]:
    """Record how what is done inside fails.

    A folder with nothing in it but the lock goes where the reason is bad input. Checkpoints go at
    the end of what did not fail.

    Args:
        store: that the run is begun in.
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
        reason = traceback.format_exc()
        store.fail(run_id, "FAILED", reason)
        if isinstance(error, InputError) and not _holds_work(folder):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with suppress(OSError):  # a full disk: the failure itself is what has to be told
            write_text(failure, reason)
        raise
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def _holds_work(folder: Path) -> bool:
    """Whether there is anything but the lock that a folder was made for."""
    return any(
        entry.name != "lock" and not (entry.is_dir() and not any(entry.iterdir()))
        for entry in folder.iterdir()
    )
