"""Discrete power laws, compared with the `powerlaw` package and with brute force."""

from __future__ import annotations

import math
import warnings

import numpy
import pytest
from scipy.special import zeta

from bench.geometry.powerlaw import fit_power_law


def zipf(gamma, n, seed=0):
    return numpy.random.default_rng(seed).zipf(gamma, n)


def shifted(gamma, xmin, n, seed=0):
    """A power law from xmin on, exactly: the rejected values of a zipf sample left out."""
    drawn = zipf(gamma, 40 * n, seed)
    return drawn[drawn >= xmin][:n]


def package(data, **options):
    """The package's fit, without its approximation and its limit of gamma."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import powerlaw

        ranges = {"alpha": [1.01, 20]}
        return powerlaw.Fit(
            numpy.asarray(data, dtype=int),
            discrete=True,
            estimate_discrete=False,
            parameter_ranges=ranges,
            verbose=0,
            **options,
        )


@pytest.mark.parametrize("gamma", [1.6, 1.9, 2.5, 3.5])
def test_gamma_maximises_the_likelihood_whose_curvature_gives_the_standard_error(gamma):
    data = zipf(gamma, 20_000)
    fit = fit_power_law(data, xmin=1, replicas=0)

    def cost(gamma):
        return len(data) * math.log(zeta(gamma, 1)) + gamma * numpy.log(data).sum()

    lower, least, upper = (cost(fit.gamma + step) for step in (-1e-3, 0, 1e-3))
    assert least < min(lower, upper)
    bend = (lower - 2 * least + upper) / 1e-3**2
    assert fit.gamma_se == pytest.approx(1 / math.sqrt(bend), rel=1e-3)
    assert abs(fit.gamma - gamma) < 3 * fit.gamma_se
    assert fit.n_tail == 20_000 and fit.p_value is None


@pytest.mark.parametrize(
    "data",
    [
        zipf(1.9, 1500).clip(max=500),  # far out, the package's exponential underflows to 0
        zipf(2.6, 3000).clip(max=500),
        numpy.ceil(numpy.random.default_rng(1).lognormal(2, 1.2, 1000)),
        numpy.append(shifted(2.3, 6, 800), numpy.random.default_rng(2).integers(1, 6, 700)),
    ],
    ids=["zipf 1.9", "zipf 2.6", "lognormal", "from 6"],
)
def test_the_package_agrees_on_its_terms(data):
    ours = fit_power_law(data, replicas=0)
    theirs = package(data, xmin=ours.xmin)
    assert ours.gamma == pytest.approx(theirs.power_law.alpha, abs=1e-3)
    # the package takes the distance at the data only
    assert ours.ks + 1e-4 >= theirs.power_law.D
    ratio, p_value = theirs.distribution_compare("power_law", "exponential")
    assert ours.alternatives["exponential"].ratio == pytest.approx(ratio, abs=0.01, rel=1e-4)
    assert ours.alternatives["exponential"].p_value == pytest.approx(p_value, abs=0.01)


def test_the_package_finds_the_same_xmin_where_the_data_have_no_gaps():
    data = numpy.append(shifted(3.0, 5, 3000), numpy.random.default_rng(2).integers(1, 5, 2000))
    assert fit_power_law(data, replicas=0).xmin == package(data).xmin == 5


@pytest.mark.parametrize("gamma, xmin, within", [(1.9, 1, 1e-3), (2.4, 3, 0.05)])
def test_the_package_agrees_on_the_lognormal(gamma, xmin, within):
    data = shifted(gamma, xmin, 1500)
    ours = fit_power_law(data, xmin=xmin, replicas=0).alternatives["lognormal"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratio, p_value = package(data, xmin=xmin).distribution_compare("power_law", "lognormal")
    assert ours.ratio == pytest.approx(ratio, abs=within)
    assert ours.ratio <= ratio + 1e-6  # its optimiser stops earlier, at a worse lognormal
    assert ours.p_value == pytest.approx(p_value, abs=within)


def test_the_distance_is_the_largest_over_all_whole_numbers():
    data = shifted(1.7, 2, 40)
    fit = fit_power_law(data, xmin=2, replicas=0)
    x = numpy.arange(2, min(data.max(), 10**6) + 2)
    model = zeta(fit.gamma, x) / zeta(fit.gamma, 2)
    empirical = 1 - numpy.searchsorted(numpy.sort(data), x, side="left") / len(data)
    assert fit.ks == pytest.approx(numpy.abs(empirical - model).max(), abs=1e-12)


def test_no_other_xmin_is_nearer():
    data = numpy.ceil(numpy.random.default_rng(5).lognormal(1.5, 0.8, 120))
    fit = fit_power_law(data, replicas=0)
    candidates = numpy.unique(data)[:-1]
    each = [fit_power_law(data, xmin=int(x), replicas=0).ks for x in candidates]
    assert fit.ks == min(each) and fit.xmin == candidates[numpy.argmin(each)]


def test_p_values_of_true_power_laws_are_spread_and_of_others_small():
    ps = [fit_power_law(zipf(2.2, 100, s), xmin=1, replicas=20, seed=s).p_value for s in range(10)]
    assert 0.3 < numpy.mean(ps) < 0.7 and min(ps) < 0.3 and max(ps) > 0.7
    assert fit_power_law(zipf(2.2, 600, seed=3), replicas=40).p_value > 0.1  # xmin chosen, too
    geometric = numpy.random.default_rng(0).geometric(0.1, 600)
    assert fit_power_law(geometric, xmin=1, replicas=40).p_value == 0


def test_what_lies_below_xmin_is_drawn_as_it_is():
    # Below 8 the data are flat, which replicas must reproduce for the p-value to be of the tail.
    flat = numpy.random.default_rng(3).integers(1, 8, 2000)
    fit = fit_power_law(numpy.append(flat, shifted(2.5, 8, 400)), replicas=40)
    assert fit.xmin == pytest.approx(8, abs=1) and fit.p_value > 0.1


def test_the_seed_alone_fixes_the_p_value():
    data = zipf(2.0, 400)
    first = fit_power_law(data, replicas=15, seed=4)
    assert first == fit_power_law(data[::-1], replicas=15, seed=4)


def test_alternatives_are_distinguished():
    random = numpy.random.default_rng(0)
    geometric = fit_power_law(random.geometric(0.05, 2000), xmin=1, replicas=0).alternatives
    assert geometric["exponential"].ratio < 0 and geometric["exponential"].p_value < 1e-6
    rounded = numpy.rint(random.lognormal(3, 0.5, 2000)).clip(1)
    lognormal = fit_power_law(rounded, xmin=1, replicas=0).alternatives["lognormal"]
    assert lognormal.ratio < 0 and lognormal.p_value < 1e-6
    assert lognormal.parameters["mu"] == pytest.approx(3, abs=0.05)
    assert lognormal.parameters["sigma"] == pytest.approx(0.5, abs=0.05)
    law = fit_power_law(zipf(2.2, 3000), xmin=1, replicas=0).alternatives
    assert law["exponential"].ratio > 0 and law["lognormal"].ratio > 0


def test_extreme_data_raise_no_warning():
    with numpy.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in ([1, 2], [1] * 9 + [2**53], [10**6, 10**6 + 1], [1] * 10**5 + [2]):
            fit = fit_power_law(data, replicas=5)
            assert fit.gamma > 1 and 0 <= fit.ks <= 1
            assert all(math.isfinite(a.ratio) for a in fit.alternatives.values())


@pytest.mark.parametrize(
    "data, options, message",
    [
        ([], {}, "non-empty"),
        ([[1, 2]], {}, "one-dimensional"),
        (["a", "b"], {}, "whole numbers"),
        ([1.5, 2.0], {}, "fractions"),
        ([1.0, math.nan], {}, "NaN"),
        ([0, 1, 2], {}, "from 1 to 2\\^53, got 0"),
        ([3, 3, 3], {}, "at least two distinct values, and the data have 1"),
        ([1, 2, 3], {"xmin": 0}, "xmin must be at least 1, got 0"),
        ([1, 2, 3], {"xmin": 3}, "at least xmin=3 have 1"),
        ([1, 2, 3], {"replicas": -1}, "replicas must not be negative"),
    ],
)
def test_bad_arguments_are_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        fit_power_law(data, **options)
