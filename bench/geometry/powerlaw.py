"""Discrete power laws, ``P(k) ~ k^-gamma`` for ``k >= xmin``: fit, goodness of fit, alternatives.

The method of Clauset, Shalizi and Newman (SIAM Review 51, 2009, arXiv 0706.1062): gamma by maximum
likelihood, xmin by the smallest Kolmogorov-Smirnov distance, a p-value from semi-parametric
bootstrap replicas that are refitted, and Vuong's test against other distributions of the same
tail.

Unlike the `powerlaw` package (2.0), gamma is never the continuous approximation, the distance is
taken at all integers, and the standard error is that of the discrete likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
from scipy.special import zeta

from bench.geometry.tails import Alternative, compare

Array = numpy.ndarray

GAMMAS = (1.001, 60.0)  # range of the search
_LARGEST = 2**53  # above it float64 does not represent every integer
_TABLE = 4096  # values of a fitted law that are drawn from its exact probabilities
_SAMPLED = 24  # points of the lower bound of a distance


@dataclass(frozen=True)
class PowerLaw:
    """A fitted power law.

    Attributes:
        gamma: the exponent, above 1.
        gamma_se: its standard error for known xmin.
        xmin: start of the tail.
        n_tail: number of observations of at least xmin.
        ks: Kolmogorov-Smirnov distance between the tail and the law.
        p_value: share of replicas at least as far from their own fits; a power law is rejected
            below 0.1 (Clauset et al.). Its standard error is ``sqrt(p (1 - p) / replicas)``. None
            without replicas.
        alternatives: `lognormal` and `exponential`, fitted to the same tail.
    """

    gamma: float
    gamma_se: float
    xmin: int
    n_tail: int
    ks: float
    p_value: float | None
    alternatives: dict[str, Alternative]


def fit_power_law(
    counts: Any,
    *,
    xmin: int | None = None,
    replicas: int = 100,
    seed: int = 0,
) -> PowerLaw:
    """Fit a discrete power law to positive integers.

    Args:
        counts: one-dimensional, positive integers of any numeric dtype, such as the frequency of
            each token. Remove zeros first.
        xmin: start of the tail; None: estimated.
        replicas: bootstrap replicas for the p-value; 0 for none. 100 give a precision of 0.05,
            2500 of 0.01.
        seed: seed of the replicas.

    Raises:
        ValueError: counts that are not positive integers, fewer than two distinct values in the
            tail, an xmin below 1, a negative number of replicas.
    """
    data = _histogram(counts)
    if xmin is not None and xmin < 1:
        raise ValueError(f"xmin must be at least 1, got {xmin}")
    if replicas < 0:
        raise ValueError(f"replicas must not be negative, got {replicas}")
    tail = data.values if xmin is None else data.values[data.values >= xmin]
    if len(tail) < 2:
        which = "the data have" if xmin is None else f"the values of at least xmin={xmin} have"
        raise ValueError(f"a power law needs at least two distinct values, and {which} {len(tail)}")
    law = _fit(data, xmin)
    above = data.values >= law.xmin
    p_value = None
    if replicas:
        draw = _sampler(data, law, numpy.random.default_rng(seed))
        p_value = sum(_fit(draw(), xmin).ks >= law.ks for _ in range(replicas)) / replicas
    values, weights = data.values[above], data.weights[above]
    own = -law.gamma * numpy.log(values) - numpy.log(zeta(law.gamma, law.xmin))
    return PowerLaw(
        gamma=law.gamma,
        gamma_se=float(1 / numpy.sqrt(law.n_tail * _log_zeta(law.gamma, law.xmin)[2])),
        xmin=law.xmin,
        n_tail=law.n_tail,
        ks=law.ks,
        p_value=p_value,
        alternatives=compare(values, weights, own, law.xmin),
    )


@dataclass(frozen=True)
class _Histogram:
    values: Array
    weights: Array


@dataclass(frozen=True)
class _Law:
    gamma: float
    xmin: int
    n_tail: int
    ks: float


def _histogram(counts: Any) -> _Histogram:
    given = numpy.asarray(counts)
    if given.ndim != 1 or given.dtype.kind not in "iuf" or not len(given):
        raise ValueError(
            "counts must be a non-empty one-dimensional array of whole numbers, got "
            f"{given.dtype} of shape {given.shape}"
        )
    values, weights = numpy.unique(given.astype(numpy.float64), return_counts=True)
    if not (numpy.isfinite(values).all() and (values == numpy.floor(values)).all()):
        raise ValueError("counts must be whole numbers, got fractions, NaN or infinity")
    if values[0] < 1 or values[-1] > _LARGEST:
        wrong = values[0] if values[0] < 1 else values[-1]
        raise ValueError(f"counts must be from 1 to 2^53, got {wrong:g}: remove it")
    return _Histogram(values, weights)


def _fit(data: _Histogram, xmin: int | None) -> _Law:
    values, weights = data.values, data.weights
    if xmin is not None:
        kept = values >= xmin
        values, weights = values[kept], weights[kept]
    if len(values) < 2:
        # a replica of small data may have a single value
        start = int(values[0]) if xmin is None and len(values) else int(xmin or 1)
        return _Law(GAMMAS[1], start, int(weights.sum()), 0.0)
    tail = numpy.cumsum(weights[::-1])[::-1]
    logs = numpy.cumsum((weights * numpy.log(values))[::-1])[::-1]
    # the tail needs two values
    count = len(values) - 1 if xmin is None else 1
    starts = values[:count] if xmin is None else numpy.array([float(xmin)])
    gammas = _gammas(starts, logs[:count] / tail[:count])
    norms = zeta(gammas, starts)
    best = (numpy.inf, 0)
    # The lower bound spares most candidates the full distance.
    bounds = _lower_bounds(values, tail, gammas, norms)
    for i in numpy.argsort(bounds, kind="stable"):
        if bounds[i] > best[0]:
            break
        best = min(best, (_distance(values[i:], tail[i:], gammas[i], norms[i]), int(i)))
    ks, i = best
    return _Law(float(gammas[i]), int(starts[i]), int(tail[i]), float(ks))


def _gammas(xmin: Array, mean_log: Array) -> Array:
    """The maximum-likelihood exponents, by Newton's method on the concave likelihood.

    Args:
        xmin: ``(C,)``.
        mean_log: ``(C,)``, mean logarithm of the values of at least xmin.
    """
    # start: the continuous approximation
    gamma = 1 + 1 / numpy.maximum(mean_log - numpy.log(xmin - 0.5), 1e-9)
    # zeta(gamma, xmin) is about xmin^-gamma, which must not underflow
    highest = numpy.minimum(GAMMAS[1], 690 / numpy.log(xmin + 1))
    gamma = gamma.clip(GAMMAS[0], highest)
    active = numpy.arange(len(gamma))
    for _ in range(60):
        _, slope, bend = _log_zeta(gamma[active], xmin[active])
        # halving or doubling gamma - 1 at most keeps zeta defined
        excess = gamma[active] - 1
        step = -(slope + mean_log[active]) / bend
        moved = 1 + (excess + step).clip(excess / 2, excess * 2)
        moved = moved.clip(GAMMAS[0], highest[active])
        converged = numpy.abs(moved - gamma[active]) <= 1e-10 * moved
        gamma[active] = moved
        active = active[~converged]
        if not len(active):
            break
    return gamma


def _log_zeta(gamma: Any, xmin: Any) -> tuple[Array, Array, Array]:
    """``log zeta(gamma, xmin)`` and its first two derivatives in gamma.

    By differences of fourth order, accurate to about 1e-10 and 1e-7.
    """
    h = 1e-3 * numpy.minimum(1, gamma - 1)
    lower2, lower, middle, upper, upper2 = (
        numpy.log(zeta(gamma + step * h, xmin)) for step in (-2, -1, 0, 1, 2)
    )
    slope = (8 * (upper - lower) - (upper2 - lower2)) / (12 * h)
    bend = (16 * (upper + lower) - (upper2 + lower2) - 30 * middle) / (12 * h**2)
    return middle, slope, bend


def _lower_bounds(values: Array, tail: Array, gammas: Array, norms: Array) -> Array:
    starts, last = numpy.arange(len(gammas)), len(values) - 1
    shares = numpy.linspace(0, 1, _SAMPLED) ** 2
    index = starts[:, None] + numpy.rint((last - starts)[:, None] * shares).astype(int)
    model = zeta(gammas[:, None], values[index]) / norms[:, None]
    return numpy.abs(tail[index] / tail[starts, None] - model).max(1)


def _distance(values: Array, tail: Array, gamma: float, norm: float) -> float:
    """The largest difference of ``P(X >= x)`` between the data and the law, over all integers x.

    Between two values of the data it is largest right after the first, or at the second.
    """
    at = tail / tail[0] - zeta(gamma, values) / norm
    after = numpy.append(tail[1:], 0) / tail[0] - zeta(gamma, values + 1) / norm
    return float(max(numpy.abs(at).max(), numpy.abs(after).max()))


def _sampler(
    data: _Histogram, law: _Law, random: numpy.random.Generator
) -> Callable[[], _Histogram]:
    below = data.values < law.xmin
    values, weights = data.values[below], data.weights[below]
    n = int(data.weights.sum())
    table = law.xmin + numpy.arange(_TABLE, dtype=numpy.float64)
    survival = zeta(law.gamma, numpy.append(table, table[-1] + 1)) / zeta(law.gamma, law.xmin)
    shares = numpy.append(survival[:-1] - survival[1:], survival[-1]).clip(min=0)
    shares /= shares.sum()
    share_below = weights.sum() / n

    def draw() -> _Histogram:
        few = random.binomial(n, share_below)
        lower = random.multinomial(few, weights / weights.sum()) if few else weights[:0]
        *upper, beyond = random.multinomial(n - few, shares)
        # this far out, rounding a continuous variable is exact to 1 / x^2
        start = table[-1] + 0.5
        power = numpy.minimum(-numpy.log1p(-random.random(beyond)) / (law.gamma - 1), 230.0)
        far = numpy.floor(start * numpy.exp(power) + 0.5)
        far_values, far_weights = numpy.unique(far, return_counts=True)
        drawn = numpy.concatenate([values if few else values[:0], table, far_values])
        counted = numpy.concatenate([lower, upper, far_weights]).astype(numpy.int64)
        return _Histogram(drawn[counted > 0], counted[counted > 0])

    return draw
