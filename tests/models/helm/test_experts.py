"""Experts, their router and their merge."""

import pytest
import torch
from torch import nn

from bench.models.helm.experts import CurvatureExperts, Merge, grouped_linear
from bench.models.helm.router import Router
from bench.models.helm.sizes import model_config


@pytest.mark.parametrize("kind", ["equal", "distinct"])
def test_the_router_adds_its_bias_for_the_choice_only(golden, config, near, kind):
    a = golden(f"mice_{kind}")
    router = Router(config("helm_mice")).double()
    router.weight.data.copy_(a["param/gate.weight"])
    router.e_score_correction_bias.copy_(a["param/gate.bias"])
    assert router.e_score_correction_bias.any()
    chosen, weights, _ = router(a["in/x"][..., 1:].flatten(0, 1))
    order = a["out/topk_indices"].sort(dim=-1)
    assert torch.equal(chosen, order.values)
    near(weights, a["out/topk_weights"].gather(1, order.indices), 1e-9)
    assert torch.equal(chosen.flatten().bincount(minlength=4), a["out/counts"])


def test_the_balance_loss_and_the_step_of_the_bias(golden, config, near):
    a = golden("mice_balance")
    router = Router(config("helm_mice", balance_loss=1e-4, balance_bias=0.005)).double()
    router.initialize()
    scores = a["in/scores"].clone().requires_grad_()
    # Of the choice of 20 tokens only the counts matter.
    chosen = torch.repeat_interleave(torch.arange(4), a["in/counts"]).view(2, 20).T.contiguous()
    loss = router.balance(scores, chosen, None)
    near(loss, a["out/loss"], 1e-9)
    loss.backward()
    near(scores.grad, a["grad/in/scores"], 1e-9)
    for _ in range(2):  # the second time there are no new tokens
        router.move_bias()
        near(router.e_score_correction_bias, a["out/bias_after_one_update_from_zero"], 1e-9)


def test_padding_is_no_load(config):
    torch.manual_seed(0)
    router = Router(config("helm_mice"))
    space, losses, biases = torch.randn(10, 24), [], []
    for rows, valid in ((space[:6], None), (space, (torch.arange(10) < 6).long())):
        torch.manual_seed(1)
        router.initialize()
        losses.append(router(rows, valid)[2])
        router.move_bias()
        biases.append(router.e_score_correction_bias.clone())
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*biases)
    assert biases[0].any() and router.eval()(space)[2] is None


def test_a_router_with_groups_and_sigmoid_scores(config):
    torch.manual_seed(0)
    router = Router(config("helm_mice", router_scores="sigmoid", n_group=2, topk_group=1))
    router.initialize()
    chosen, weights, _ = router(torch.randn(50, 24))
    assert torch.equal(chosen[:, 0] // 2, chosen[:, 1] // 2)  # both of one group
    torch.testing.assert_close(weights.sum(-1), torch.ones(50))


@pytest.mark.parametrize("ends", [[2, 5, 9], [0, 9, 9], [9, 9, 9]])
def test_the_grouped_product(ends):
    rows = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    weight = nn.Parameter(torch.randn(3, 5, 4, dtype=torch.float64))
    offsets = torch.tensor(ends, dtype=torch.int32)
    owner = torch.searchsorted(offsets, torch.arange(9, dtype=torch.int32), right=True)
    expected = torch.stack([weight[e] @ row for e, row in zip(owner, rows, strict=True)])
    torch.testing.assert_close(grouped_linear(rows, weight, offsets), expected)
    assert torch.autograd.gradcheck(lambda r, w: grouped_linear(r, w, offsets), (rows, weight))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("K", [1.1, 1.9])
def test_bfloat16_does_not_round_the_curvature_of_an_expert(K, autocast):
    torch.manual_seed(0)
    options = {"expert_curvatures": (K, K), "num_hidden_layers": 1}
    experts = CurvatureExperts(model_config("helm_mice", "tiny", 97, **options))
    experts.initialize()
    experts.to(torch.bfloat16).log_curvature.data = torch.tensor([K] * 4).log()
    x, chosen = torch.randn(256, 128).bfloat16(), torch.tensor([[0, 2]] * 256)
    time = (x.float().square().sum(-1, keepdim=True) + 1).sqrt()
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            found = experts(x, time, chosen).double()
        expected = experts.double()(x.double(), time.double(), chosen)
    # Errors of single numbers are independent, that of a rounded scale is the same for all.
    assert abs((found * expected).sum() / expected.square().sum() - 1) < 5e-4


@pytest.mark.parametrize("merge", ["helm", "centroid"])
def test_bfloat16_does_not_move_a_merged_point(config, merge):
    torch.manual_seed(0)
    merged = Merge(config("helm_mice", merge=merge))
    merged.initialize()
    shared = 10 * torch.randn(256, 1, 64)
    routed = shared + torch.randn(256, 2, 64)  # squares of space and time nearly cancel
    shared, routed = shared.squeeze(1).bfloat16(), routed.bfloat16()
    weights = torch.rand(256, 2)
    with torch.no_grad():
        exact = merged.double()(shared.double(), routed.double(), weights.double())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = merged.float()(shared, routed, weights)
    assert found.dtype == torch.bfloat16
    assert ((found.double() - exact).norm(dim=-1) / exact.norm(dim=-1)).max() < 0.01
