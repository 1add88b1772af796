"""Comparable times: workloads interleaved in a new random order each round, compared by ratios."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from bench.progress import Progress

Workload = Callable[[], object]
UNTIMED = 2  # calls of each workload before those that are timed


def interleave(
    title: str,
    workloads: Mapping[str, Workload],
    rounds: int,
    calls: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:
    """Seconds per call of each workload in each round.

    Every round runs all workloads in an order of its own, so that other load on the machine and the
    effect of a predecessor are spread over all of them. Each is called `UNTIMED` times before. A
    GPU is synchronised before the clock is read.

    Args:
        title: of the progress.
        calls: how many calls are timed together, by workload, for those that are shorter than the
            clock's resolution; 1 by default.
    """
    names, order = list(workloads), random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with Progress(title, (UNTIMED + rounds) * len(names), "repetition") as progress:
        for workload in list(workloads.values()) * UNTIMED:
            workload()
            progress.update(1)
        for _ in range(rounds):
            order.shuffle(names)
            for name in names:
                count = calls[name] if calls else 1
                _synchronize()
                start = time.perf_counter()
                for _ in range(count):
                    workloads[name]()
                _synchronize()
                seconds[name].append((time.perf_counter() - start) / count)
                progress.update(1)
    return seconds


def compare(seconds: Mapping[str, list[float]], reference: str) -> dict[str, dict[str, float]]:
    """Medians with quartiles and ratios to a reference, of the result of `interleave`.

    Returns:
        For each workload seconds per call `median`, `low`, `high`; its time divided by the
        reference's in the same round, `ratio`, `ratio_low`, `ratio_high`; and `rounds`.
    """
    found = {}
    for name, own in seconds.items():
        ratios = [mine / theirs for mine, theirs in zip(own, seconds[reference], strict=True)]
        quartiles = np.quantile([own, ratios], (0.25, 0.5, 0.75), axis=1)
        (low, ratio_low), (median, ratio), (high, ratio_high) = quartiles.tolist()
        found[name] = {
            "median": median,
            "low": low,
            "high": high,
            "ratio": ratio,
            "ratio_low": ratio_low,
            "ratio_high": ratio_high,
            "rounds": len(own),
        }
    return found


def speed(timing: Mapping[str, float]) -> dict[str, float]:
    """The ratios of a workload's speed instead of its time."""
    inverse = {"ratio": "ratio", "ratio_low": "ratio_high", "ratio_high": "ratio_low"}
    return {name: 1 / timing[of] for name, of in inverse.items()}


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
