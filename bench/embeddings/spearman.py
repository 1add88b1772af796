"""Spearman's rank correlation with a bootstrap interval."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FEWEST = 10  # points needed for an interval
CHUNK = 2**21  # numbers resampled at once, 16 MiB


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho with its 95% percentile bootstrap interval."""

    rho: float
    low: float
    high: float


def spearman(
    x: NDArray[Any], y: NDArray[Any], replicas: int = 1000, seed: int = 0
) -> Correlation | None:
    """Spearman's rho of points x and y, (n,) each, with an interval over resampled points.

    None for fewer than FEWEST points, or if all x or all y are equal.
    """
    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # A resample of equal points has no rho.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (x, y),
            _rho,
            n_resamples=replicas,
            batch=max(1, CHUNK // len(x)),
            paired=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    low, high = np.nanquantile(found, (0.025, 0.975))
    return Correlation(float(_rho(x, y)), float(low), float(high))


def _rho(x: Any, y: Any, axis: int = -1) -> Any:
    middle = (x.shape[axis] + 1) / 2
    a, b = (stats.rankdata(values, axis=axis) - middle for values in (x, y))
    return np.vecdot(a, b) / np.sqrt(np.vecdot(a, a) * np.vecdot(b, b))
