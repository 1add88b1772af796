"""Work on rows that goes on with half as many at once when memory does not hold them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from bench.errors import Failure

Result = TypeVar("Result")


def halving(work: Callable[[int], Result], rows: int, what: str, advice: str) -> Result:
    """Do work with so many rows at once, or with half as many, again and again.

    Args:
        work: takes the most rows to hold at once. It is called anew from its beginning after an
            out-of-memory error, so it must undo what a call before it left half done.
        rows: the most that are tried.
        what: the work, for the line that tells of it.
        advice: what a person can do where not even one row fits.

    Raises:
        Failure: one row alone does not fit.
    """
    while True:
        try:
            return work(rows)
        except torch.OutOfMemoryError as error:
            if rows == 1:
                raise Failure(
                    f"{what}: not even one row fits in memory: {advice} ({error})"
                ) from error
        # Not in the except block: the error's traceback holds all that was computed until then.
        gc.collect()
        torch.cuda.empty_cache()
        half = (rows + 1) // 2
        print(f"{what}: out of memory with {rows} rows at once; goes on with {half}", flush=True)
        rows = half
