import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from bench.report.comparison import holm


@pytest.mark.parametrize("p", [[0.03], [0.01] * 3, np.random.default_rng(0).random(40) ** 4])
def test_holm_is_statsmodels_correction(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())
