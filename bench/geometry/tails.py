"""Alternatives to a fitted distribution of a tail of integers, compared by Vuong's test.

Discrete, conditional on ``k >= xmin``, fitted by maximum likelihood:

- exponential: ``P(k) = (1 - e^-rate) e^(-rate (k - xmin))``
- lognormal: the probability that a lognormal variable rounds to k
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy
from scipy.optimize import minimize
from scipy.special import erfc, log_ndtr

Array = numpy.ndarray

# Limit of (log xmin - mu) / sigma. A lognormal with mu -> -inf tends to a power law, and its
# likelihood keeps rising by less than the precision.
_MAX_SHIFT = 100.0
_MAX_LOG_SIGMA = 20.0
_INFEASIBLE = 1e30  # cost beyond these limits; finite, since the optimiser subtracts costs
_FAR = 1e6  # from here on the density replaces a difference of the distribution function


@dataclass(frozen=True)
class Alternative:
    """Another distribution of the same tail.

    Attributes:
        parameters: `rate`, or `mu` and `sigma` (of the logarithm).
        ratio: natural log-likelihood ratio of the given distribution to this one; positive if the
            given one fits better.
        p_value: two-sided p-value of the sign of the ratio (Vuong 1989).
    """

    parameters: dict[str, float]
    ratio: float
    p_value: float


def compare(values: Array, weights: Array, own: Array, xmin: int) -> dict[str, Alternative]:
    """Compare a distribution with a lognormal and an exponential.

    Args:
        values: ``(U,)``, distinct integers of at least xmin, two or more.
        weights: ``(U,)``, their frequencies.
        own: ``(U,)``, the distribution's log-probability of each value given ``k >= xmin``.
        xmin: start of the tail, at least 1.

    Returns:
        `lognormal` and `exponential`.
    """
    fitted = {
        "lognormal": _lognormal(values, weights, xmin),
        "exponential": _exponential(values, weights, xmin),
    }
    return {
        name: _vuong(own - logs, weights, parameters) for name, (parameters, logs) in fitted.items()
    }


def _vuong(difference: Array, weights: Array, parameters: dict[str, float]) -> Alternative:
    n = weights.sum()
    ratio = float((weights * difference).sum())
    variance = float((weights * (difference - ratio / n) ** 2).sum() / n)
    spread = math.sqrt(n * variance)
    normalized = ratio / spread if spread > 0 else 0.0
    return Alternative(parameters, ratio, float(erfc(abs(normalized) / math.sqrt(2))))


def _exponential(values: Array, weights: Array, xmin: int) -> tuple[dict[str, float], Array]:
    above = values - xmin
    rate = math.log1p(1 / (weights @ above / weights.sum()))
    return {"rate": rate}, math.log(-math.expm1(-rate)) - rate * above


def _lognormal(values: Array, weights: Array, xmin: int) -> tuple[dict[str, float], Array]:
    edges = numpy.log(numpy.stack([values - 0.5, values + 0.5]))
    start = math.log(xmin - 0.5)
    n = weights.sum()

    far = values > _FAR
    widths = numpy.log(numpy.log1p(1 / (values - 0.5)))

    def logs(mu: float, sigma: float) -> Array:
        # log(Phi(-a) - Phi(-b)) for a < b, accurate in the tail
        lower, upper = log_ndtr((mu - edges) / sigma)
        with numpy.errstate(divide="ignore"):  # a candidate may give a value probability 0
            steps = lower + numpy.log(-numpy.expm1(upper - lower))
        z = (numpy.log(values) - mu) / sigma
        density = widths - math.log(sigma * math.sqrt(2 * math.pi)) - z**2 / 2
        return numpy.where(far, density, steps) - log_ndtr((mu - start) / sigma)

    def cost(point: Array) -> float:
        mu, log_sigma = point
        if abs(log_sigma) > _MAX_LOG_SIGMA or start - mu > _MAX_SHIFT * math.exp(log_sigma):
            return _INFEASIBLE
        return min(-float(weights @ logs(mu, math.exp(log_sigma))) / n, _INFEASIBLE)

    mean = float(weights @ numpy.log(values) / n)
    spread = math.sqrt(float(weights @ (numpy.log(values) - mean) ** 2 / n))
    # Start at the data, and far below them, where a power law would put mu.
    starts = [(mean, math.log(spread)), (start - 4 * spread, math.log(3 * spread))]
    options = {"xatol": 1e-5, "fatol": 1e-10, "maxiter": 4000, "maxfev": 4000}
    results = [minimize(cost, point, method="Nelder-Mead", options=options) for point in starts]
    best = min(results, key=lambda result: result.fun)
    mu, sigma = float(best.x[0]), math.exp(best.x[1])
    return {"mu": mu, "sigma": sigma}, logs(mu, sigma)
