"""Times that can be compared: interleaved, in a new random order every round, as ratios."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """What a piece of work took, in seconds, and beside the reference of the same rounds.

    Attributes:
        median: of one call.
        low: lower quartile.
        high: upper quartile.
        ratio: median over rounds of this work's time over the reference's in that round.
        ratio_low: lower quartile of these ratios.
        ratio_high: upper quartile.
        rounds: how many there were.
    """

    median: float
    low: float
    high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int


def interleave(
    works: Mapping[str, Work],
    rounds: int,
    calls: Mapping[str, int],
    device: torch.device,
    seed: int = 0,
    told: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds a call of each work, one figure a round.

    Every round runs all works, in an order of its own: what else the machine does falls on all of
    them alike, and none always comes behind the same other.

    Args:
        works: by name. Each is called twice before the clock starts.
        rounds: how many figures for each.
        calls: how many calls stand behind a figure, by work; 1 where none is given. For works that
            are shorter than the clock is good.
        device: on CUDA the clock waits for the device.
        seed: of the orders.
        told: called after each work of each round, for a progress bar.
    """
    for work in works.values():
        work()
        work()
    names, order = list(works), random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            _wait(device)
            began = time.perf_counter()
            count = calls.get(name, 1)
            for _ in range(count):
                works[name]()
            _wait(device)
            seconds[name].append((time.perf_counter() - began) / count)
            told()
    return seconds


def compare(seconds: Mapping[str, list[float]], reference: str) -> dict[str, Timing]:
    """Medians with quartiles, and ratios to one of the works.

    Args:
        seconds: as `interleave` gives; figures of one place are of one round.
        reference: the work that the ratios are to.
    """
    base = seconds[reference]
    found = {}
    for name, own in seconds.items():
        low, median, high = _quartiles(own)
        ratios = [mine / theirs for mine, theirs in zip(own, base, strict=True)]
        ratio_low, ratio, ratio_high = _quartiles(ratios)
        found[name] = Timing(median, low, high, ratio, ratio_low, ratio_high, len(own))
    return found


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
