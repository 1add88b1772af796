"""Holm's correction against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from bench.report.comparison import holm


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_it_is_statsmodels_correction(count):
    p = np.random.default_rng(count).random(count) ** 4
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_equal_p_values_are_corrected_alike():
    assert holm([0.01, 0.01, 0.01]) == pytest.approx([0.03, 0.03, 0.03])


def test_nothing_to_correct():
    assert holm([]) == []
