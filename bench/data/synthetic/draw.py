"""Seeded choices that come out the same on every platform and Python version.

Only `random.Random.random()` is used: of the standard generator's methods it is the one whose
sequence Python promises to keep for a given seed. Sets and `hash()` are avoided for the same
reason; buckets come from sha256.
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


@cache
def _zipf_weights(size: int) -> tuple[float, ...]:
    """Cumulative weights of ranks 1..size under P(rank) ~ 1 / (rank + 2)."""
    return tuple(accumulate(1.0 / (rank + 3) for rank in range(size)))


class Draw:
    """A stream of choices, fixed by its seed words."""

    def __init__(self, *seed: object) -> None:
        digest = hashlib.sha256("/".join(map(str, seed)).encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:8], "big")).random

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def integer(self, low: int, high: int) -> int:
        """A whole number in low..high, both included, each equally likely."""
        return low + int(self._random() * (high - low + 1))

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, each equally likely."""
        return options[int(self._random() * len(options))]

    def weighted(self, options: Sequence[T], weights: Sequence[float]) -> T:
        """One of the options with probability in proportion to its weight."""
        return self._pick(options, tuple(accumulate(weights)))

    def zipf(self, options: Sequence[T]) -> T:
        """One of the options, the first the most likely, by a Zipf law over the order."""
        return self._pick(options, _zipf_weights(len(options)))

    def _pick(self, options: Sequence[T], cumulative: Sequence[float]) -> T:
        place = bisect_right(cumulative, self._random() * cumulative[-1])
        return options[min(place, len(options) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """A copy of the items in random order (Fisher-Yates)."""
        items = list(items)
        for last in range(len(items) - 1, 0, -1):
            other = int(self._random() * (last + 1))
            items[last], items[other] = items[other], items[last]
        return items


SPLITS = ("train", "validation", "test")
_SPLIT_EDGES = (0.70, 0.80, 1.0)


@lru_cache(maxsize=200_000)
def split_of(*key: object) -> str:
    """The split that a key belongs to, for good: 70% train, 10% validation, 20% test.

    A function of the key alone, so that whoever draws a wording or a pair of numbers, for a
    problem or for the pretraining corpus, agrees on where it may be used.
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    return next(name for name, edge in zip(SPLITS, _SPLIT_EDGES, strict=True) if point < edge)
