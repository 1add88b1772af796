"""Seeded choices that are identical on every platform and Python version.

Only `random.Random.random()` is used: it is the only method of the standard generator whose
sequence Python guarantees for a given seed. Sets and `hash()` are avoided for the same reason.
"""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")


def _hash(*key: object) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8], "big")


@cache
def _zipf_weights(size: int) -> tuple[float, ...]:
    return tuple(accumulate(1.0 / (rank + 3) for rank in range(size)))


class Draw:
    """A stream of choices, determined by its seed words."""

    def __init__(self, *seed: object) -> None:
        self._random = random.Random(_hash(*seed)).random

    def skip(self, count: int) -> None:
        """Discard random numbers; each choice but `shuffled` takes one."""
        for _ in range(count):
            self._random()

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def integer(self, low: int, high: int) -> int:
        """A uniform integer in low..high, both included."""
        return low + int(self._random() * (high - low + 1))

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, uniformly."""
        return options[int(self._random() * len(options))]

    def weighted(self, options: Sequence[T], weights: Sequence[float]) -> T:
        """One of the options with probability proportional to its weight."""
        return self._pick(options, tuple(accumulate(weights)))

    def zipf(self, options: Sequence[T]) -> T:
        """One of the options, the first the most likely, by a Zipf law over the order."""
        return self._pick(options, _zipf_weights(len(options)))

    def _pick(self, options: Sequence[T], cumulative: Sequence[float]) -> T:
        place = bisect_right(cumulative, self._random() * cumulative[-1])
        return options[min(place, len(options) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """A shuffled copy of the items (Fisher-Yates)."""
        items = list(items)
        for last in range(len(items) - 1, 0, -1):
            other = int(self._random() * (last + 1))
            items[last], items[other] = items[other], items[last]
        return items


SPLITS = ("train", "validation", "test")
_SPLIT_EDGES = (0.70, 0.80, 1.0)


@lru_cache(maxsize=200_000)
def split_of(*key: object) -> str:
    """The split of a wording or a set of numbers: 70% train, 10% validation, 20% test.

    A function of the key alone, so that problems and the pretraining corpus agree on it.
    """
    point = _hash(*key) / 2**64
    return next(name for name, edge in zip(SPLITS, _SPLIT_EDGES, strict=True) if point < edge)
