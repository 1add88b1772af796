"""Near-duplicates: test rows that share most of their wording with one training row.

Measured in runs of 13 words, as is usual where models are checked for test rows they were trained
on: shorter runs are shared by problems that merely ask alike, and a name or an option that was
changed leaves the runs around it as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

RUN = 13


# A sweep asks for the same rows in every run, and 170,000 training rows take some ten seconds.
@lru_cache(maxsize=2)
def near_rows(
    training: tuple[str, ...], tests: tuple[str, ...]
) -> tuple[frozenset[int], frozenset[int]]:
    """Which test rows nearly stand in a training row, and which training rows those are.

    A test row does where at least half of its runs of 13 words stand in one training row, in any
    order. A text that is shorter is one run. Of the public files half separates problems told
    again with other names from such as share a setting and ask something else.

    Only the test rows are indexed, so that memory does not grow with the training rows.

    Args:
        training: texts, their words parted by spaces.
        tests: the same.

    Returns:
        Indices into `tests` and into `training`.
    """
    index: dict[tuple[str, ...], list[int]] = {}
    needed = []
    for number, text in enumerate(tests):
        runs = set(_runs(text))
        needed.append((len(runs) + 1) // 2)
        for run in runs:
            index.setdefault(run, []).append(number)
    near: set[int] = set()
    makes: set[int] = set()
    for number, text in enumerate(training):
        shared: Counter[int] = Counter()
        for run in set(_runs(text)):
            if found := index.get(run):
                shared.update(found)
        hits = [test for test, count in shared.items() if count >= needed[test]]
        if hits:
            near.update(hits)
            makes.add(number)
    return frozenset(near), frozenset(makes)


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = tuple(text.split())
    return (words[i : i + RUN] for i in range(max(1, len(words) - RUN + 1)))
