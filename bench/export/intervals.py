"""95% intervals of one run's accuracies, over the items of its test sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DRAWS = 10_000


def run_intervals(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Bootstrap over the items of each set; variation between seeds is not included.

    The number of correct answers in a draw is binomial. If all answers are correct, or none, the
    interval is the exact one (Clopper and Pearson).

    Args:
        scores: of a run by set, with `correct` and `n`.

    Returns:
        Lower and upper limit in percent by set, and for `micro` and `macro`.
    """
    import numpy as np

    generator = np.random.default_rng(0)
    sizes = np.array([score["n"] for score in scores.values()])
    correct = np.array([score["correct"] for score in scores.values()])
    drawn = generator.binomial(sizes, correct / sizes, (DRAWS, len(sizes)))
    total = int(correct.sum()), int(sizes.sum())
    intervals = {
        key: _interval(drawn[:, place] / score["n"], score["correct"], score["n"])
        for place, (key, score) in enumerate(scores.items())
    }
    intervals["micro"] = _interval(drawn.sum(axis=1) / sizes.sum(), *total)
    intervals["macro"] = _interval((drawn / sizes).mean(axis=1), *total)
    return intervals


def _interval(drawn: Any, correct: int, n: int) -> tuple[float, float]:
    import numpy as np
    from scipy.stats import binomtest

    if correct in (0, n):
        exact = binomtest(correct, n).proportion_ci(0.95, method="exact")
        return 100 * exact.low, 100 * exact.high
    low, high = np.quantile(drawn, (0.025, 0.975))
    return 100 * float(low), 100 * float(high)
