"""The 95% intervals of one run's accuracies, over the items of its test sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DRAWS = 10_000


def run_intervals(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """A bootstrap over the items of each set.

    The number of right answers in a draw is binomial. If all answers are right, or all wrong, the
    interval is the exact one (Clopper and Pearson).

    Args:
        scores: of a run by set, with `correct` and `n`.

    Returns:
        Lower and upper end in percent for each set, `micro` and `macro`. Other seeds are not
        covered.
    """
    import numpy as np

    generator = np.random.default_rng(0)
    sizes = np.array([score["n"] for score in scores.values()])
    right = np.array([score["correct"] for score in scores.values()])
    drawn = generator.binomial(sizes, right / sizes, (DRAWS, len(sizes)))
    ends = {
        key: _ends(drawn[:, place] / sizes[place], int(right[place]), int(sizes[place]))
        for place, key in enumerate(scores)
    }
    micro = drawn.sum(axis=1) / sizes.sum()
    ends["micro"] = _ends(micro, int(right.sum()), int(sizes.sum()))
    ends["macro"] = _ends((drawn / sizes).mean(axis=1), int(right.sum()), int(sizes.sum()))
    return ends


def _ends(drawn: Any, correct: int, n: int) -> tuple[float, float]:
    import numpy as np

    if correct in (0, n):
        from scipy.stats import binomtest

        exact = binomtest(correct, n).proportion_ci(0.95, method="exact")
        return 100 * exact.low, 100 * exact.high
    low, high = np.quantile(drawn, (0.025, 0.975))
    return 100 * float(low), 100 * float(high)
