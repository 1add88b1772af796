"""Repeat work with smaller batches when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from bench.errors import Failure

Result = TypeVar("Result")


def halving(
    work: Callable[[int], Result],
    most: int,
    what: str,
    advice: str,
    unit: str = "rows",
    least: int = 1,
) -> Result:
    """Call `work(most)`, halving `most` after each out-of-memory error.

    After an error `work` is called again from its beginning, so it must undo what the failed call
    left. With at most `least` rows at once it takes one row at a time, so this is not halved. The
    other arguments are for messages: the work, what to do if a single row does not fit, and what is
    counted if not rows.

    Raises:
        Failure: a single row does not fit.
    """
    while True:
        try:
            return work(most)
        except torch.OutOfMemoryError as error:
            if most <= least:
                raise Failure(
                    f"{what}: not even one row fits in memory: {advice} ({error})"
                ) from error
        # Outside of the except block: the error's traceback refers to the failed call's tensors.
        gc.collect()
        torch.cuda.empty_cache()
        half = (most + 1) // 2
        print(
            f"{what}: out of memory with {most} {unit} at once; continuing with {half}", flush=True
        )
        most = half
