"""The dtypes that an adapter runs in, and the operations of a layer in each."""

import pytest
import torch

from bench.efficiency.cases import build
from bench.efficiency.measure import ALL, check
from bench.efficiency.operations import count_operations
from bench.efficiency.regimes import REGIMES, regimes_of
from tests.efficiency.test_measure import CPU, LAYER, MODEL, workloads_of

BF16, F32 = torch.bfloat16, torch.float32


@pytest.fixture(scope="module")
def counted():
    """The operations in float32."""
    return count_operations(("lora", "hyplora"), F32, "uniform", CPU)["methods"]


@pytest.mark.parametrize("regime", REGIMES)
def test_every_method_runs_in_each_regime(regime):
    models = build(MODEL, ALL, BF16, CPU, REGIMES[regime])
    expected = BF16 if regime == "uniform" else F32
    for name, model in models.items():
        trained = {n: p.dtype for n, p in model.named_parameters() if p.requires_grad}
        scalars = {n for n in trained if "hyplora_s" in n or "hyplora_K" in n}
        others = {dtype for n, dtype in trained.items() if n not in scalars}
        assert others == ({expected} if name != "none" else set()), name
        assert {trained[n] for n in scalars} <= {F32}  # as after model.to(bfloat16)
        check(name, model, REGIMES[regime])
        makers = workloads_of(MODEL, model, BF16, CPU)
        steps = set() if name == "none" else {"step 12"}
        assert set(makers) == {"prefill 12", "decode 1", "decode 2"} | steps
        for make in makers.values():
            workload = make()
            workload(), workload()


@pytest.mark.parametrize(
    ("regime", "product"), [("uniform", BF16), ("evaluation", F32), ("training", BF16)]
)
def test_autocast_lowers_the_products_of_a_float32_adapter(regime, product):
    model = build(LAYER, ("lora",), BF16, CPU, REGIMES[regime])["lora"]
    made = []
    A = model.get_base_model().linear.lora_A["default"]
    A.register_forward_hook(lambda _, given, result: made.append(result.dtype))
    model(torch.ones(1, 2, LAYER.layer, dtype=BF16))
    assert made == [product]


def test_a_float32_base_has_one_regime():
    assert regimes_of(F32, ["training"]) == ["uniform"]
    assert regimes_of(BF16, []) == list(REGIMES) and regimes_of(BF16, ["training"]) == ["training"]


def test_the_operations_of_lora_are_those_of_its_definition(counted):
    # The layer's product, A's and B's, the scaling and the sum; backward the scaling, two products
    # for each of A and B, one for the layer, and the sum of the input's two gradients.
    assert counted["none"]["operations"] == {"forward": 1, "backward": 1, "decode": 1}
    assert counted["lora"]["operations"] == {"forward": 5, "backward": 7, "decode": 5}
    assert counted["lora"]["launches"] == {"forward": None, "backward": None, "decode": None}


def test_casts_are_operations(counted):
    counts = {
        regime: count_operations(("lora",), BF16, regime, CPU)["methods"]["lora"]["operations"]
        for regime in REGIMES
    }
    assert counts["uniform"] == counted["lora"]["operations"]
    for regime in ("evaluation", "training"):
        assert counts[regime]["forward"] > counts["uniform"]["forward"]
