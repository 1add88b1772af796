import json

import pytest
import torch

from bench.efficiency import helm
from bench.efficiency.helm import CONTROL, measure_helm
from bench.models.helm.sizes import OF_TWIN
from bench.tracking.record import efficiency_metrics


@pytest.fixture(scope="module")
def found(few_objects):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helm, "SIZE", "tiny")
        patch.setattr(helm, "VOCABULARY", 64)
        report = measure_helm(8, rounds=1, batch=2, device=torch.device("cpu"))
    return json.loads(json.dumps(report))


def test_each_helm_is_compared_with_its_twin_and_the_twin_with_itself(found):
    assert list(found["pairs"]) == ["helm_d", "helm_mice"]
    assert (found["dtype"], found["vocabulary"], found["batch"]) == ("float32", 64, 2)
    for own, pair in found["pairs"].items():
        twin = pair["twin"]
        assert OF_TWIN[twin] == own
        assert list(pair["works"]) == ["step 8", "decode 8", "decode 32"]
        for times in pair["works"].values():
            assert set(times) == {twin, own, CONTROL}
            assert times[twin]["ratio"] == 1 and times[own]["seconds"] > 0
            assert times[own].keys() == {"seconds", "ratio", "ratio_low", "ratio_high"}
        assert list(pair["parameters"]) == [twin, own]


def test_the_caches_are_counted(found):
    """Four layers: keys and values of 4 heads of 31; a latent of 32, 16 rotated, and 8 times."""
    assert found["pairs"]["helm_d"]["cached"]["helm_d"] == 4 * 2 * 4 * 31
    cached = found["pairs"]["helm_mice"]["cached"]
    assert cached == {"helm_mice": 4 * (32 + 16 + 8), "deepseek_twin": 4 * (32 + 16)}


def test_the_store_has_the_ratios(found):
    metrics = efficiency_metrics({"cases": [], "helm": found})
    assert len(metrics) == 2 * 3 * 2
    ratio = found["pairs"]["helm_mice"]["works"]["decode 32"]["helm_mice"]["ratio"]
    assert metrics["ratio/helm_mice/decode 32"] == ratio
