"""Repeat work with smaller batches when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from bench.errors import Failure

Result = TypeVar("Result")


def halving(work: Callable[[int], Result], rows: int, what: str, advice: str) -> Result:
    """Call `work(rows)`, halving `rows` after each out-of-memory error.

    Args:
        work: takes the maximum number of rows at once. After an error it is called again from its
            beginning, so it must undo what the failed call left.
        rows: the first maximum.
        what: the work, for messages.
        advice: what to do if a single row does not fit.

    Raises:
        Failure: a single row does not fit.
    """
    while True:
        try:
            return work(rows)
        except torch.OutOfMemoryError as error:
            if rows == 1:
                raise Failure(
                    f"{what}: not even one row fits in memory: {advice} ({error})"
                ) from error
        # Outside of the except block: the error's traceback refers to the failed call's tensors.
        gc.collect()
        torch.cuda.empty_cache()
        half = (rows + 1) // 2
        print(f"{what}: out of memory with {rows} rows at once; continuing with {half}", flush=True)
        rows = half
