"""Other distributions of a tail of whole numbers, beside one that is given: Vuong's test.

Both are discrete and conditional on ``k >= xmin``, fitted by maximum likelihood:

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

# How many standard deviations above mu a lognormal's tail may begin. A lognormal whose mu runs
# away is a power law: the likelihood goes on rising, by less than can be told.
_FURTHEST = 100.0
_WIDEST = 20.0  # |log sigma|, far beyond any data
_WORST = 1e30  # the cost of such parameters: the optimiser subtracts costs
_FAR = 1e6  # from here on a step of the distribution is too small a difference, but a density


@dataclass(frozen=True)
class Alternative:
    """Another distribution of the same tail.

    Attributes:
        parameters: `rate`, or `mu` and `sigma` (of the logarithm).
        ratio: log-likelihood of the first distribution less this one's, natural, over the tail:
            positive where the first is nearer to the data.
        normalized: the ratio in its standard deviations.
        p_value: of its sign, two-sided (Vuong 1989): a large one means that the data can't tell the
            two apart.
    """

    parameters: dict[str, float]
    ratio: float
    normalized: float
    p_value: float


def compare(values: Array, weights: Array, own: Array, xmin: int) -> dict[str, Alternative]:
    """Set a distribution beside a lognormal and an exponential.

    Args:
        values: ``(U,)``, distinct whole numbers of at least xmin, two or more.
        weights: ``(U,)``, how often each occurs.
        own: ``(U,)``, the distribution's log-probability of each value, given that it is at least
            xmin.
        xmin: where the tail begins, at least 1.

    Returns:
        `lognormal` and `exponential`.
    """
    fitted = {
        "lognormal": _lognormal(values, weights, xmin),
        "exponential": _exponential(values, weights, xmin),
    }
    return {
        name: _beside(own - logs, weights, parameters)
        for name, (parameters, logs) in fitted.items()
    }


def _beside(difference: Array, weights: Array, parameters: dict[str, float]) -> Alternative:
    n = weights.sum()
    ratio = float((weights * difference).sum())
    variance = float((weights * (difference - ratio / n) ** 2).sum() / n)
    spread = math.sqrt(n * variance)
    normalized = ratio / spread if spread > 0 else 0.0
    return Alternative(parameters, ratio, normalized, float(erfc(abs(normalized) / math.sqrt(2))))


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
        # log(Phi(-a) - Phi(-b)) for a < b, in the tail and in the middle alike
        lower, upper = log_ndtr((mu - edges) / sigma)
        with numpy.errstate(divide="ignore"):  # a candidate may give a value no chance
            steps = lower + numpy.log(-numpy.expm1(upper - lower))
        z = (numpy.log(values) - mu) / sigma
        density = widths - math.log(sigma * math.sqrt(2 * math.pi)) - z**2 / 2
        return numpy.where(far, density, steps) - log_ndtr((mu - start) / sigma)

    def cost(point: Array) -> float:
        mu, log_sigma = point
        if abs(log_sigma) > _WIDEST or start - mu > _FURTHEST * math.exp(log_sigma):
            return _WORST
        return min(-float(weights @ logs(mu, math.exp(log_sigma))) / n, _WORST)

    middle = float(weights @ numpy.log(values) / n)
    spread = math.sqrt(float(weights @ (numpy.log(values) - middle) ** 2 / n))
    # From where the data are, and from far below them, where a power law would put it.
    begun = [(middle, math.log(spread)), (start - 4 * spread, math.log(3 * spread))]
    options = {"xatol": 1e-5, "fatol": 1e-10, "maxiter": 4000, "maxfev": 4000}
    tried = [minimize(cost, point, method="Nelder-Mead", options=options) for point in begun]
    best = min(tried, key=lambda result: result.fun)
    mu, sigma = float(best.x[0]), math.exp(best.x[1])
    return {"mu": mu, "sigma": sigma}, logs(mu, sigma)
