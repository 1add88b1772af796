"""Experts, their router and their merge, beside the golden arrays and the literal form."""

import pytest
import torch
from torch import nn

from bench.models.helm import HelmForCausalLM
from bench.models.helm.grouped import grouped_linear
from bench.models.helm.points import lift
from bench.models.helm.router import Router

PRECISION = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-5, 1e-4)}
both = pytest.mark.parametrize("dtype", PRECISION)
kinds = pytest.mark.parametrize("kind", ["equal", "distinct"])


@pytest.fixture
def layer_of(golden, config):
    """A function that gives a layer of experts with golden parameters: it is put into a model."""

    def make(parameters, dtype=torch.float64, **options):
        state = golden("helm_mice_tiny").below("param/")
        state |= {f"layers.1.ffn.{name}": tensor for name, tensor in parameters.items()}
        model = HelmForCausalLM.from_public(state, config("helm_mice", **options))
        return model.model.layers[1].mlp.to(dtype).train()

    return make


def leaves(point, dtype):
    """Space and time of a point, as inputs of their own."""
    point = point.to(dtype)
    return point[..., 1:].clone().requires_grad_(), point[..., :1].clone().requires_grad_()


def of_experts(parameters):
    """The public parameters of single experts as ours of all of them."""

    def each(*names):
        rows = [[parameters[f"experts.{e}.{n}"] for n in names] for e in range(4)]
        return torch.stack([torch.cat(row) for row in rows])

    inner = each("w1.linear.weight", "w3.linear.weight")
    return {
        "gate_up_proj": inner[:, :, 1:],
        "gate_up_time": inner[:, :, 0],
        "gate_up_bias": each("w1.linear.bias", "w3.linear.bias"),
        "down_proj": each("w2.linear.weight")[:, :, 1:],
        "down_time": each("w2.linear.weight")[:, :, 0],
        "down_bias": each("w2.linear.bias"),
    }


@both
@kinds
def test_the_layer_and_all_its_gradients(golden, layer_of, near, kind, dtype):
    a, (values, gradients) = golden(f"mice_{kind}"), PRECISION[dtype]
    layer = layer_of(a.below("param/"), dtype)
    space, time = leaves(a["in/x"], dtype)
    out, _ = layer(space, time)
    near(lift(out, 1.0), a["out/y"], values)
    # The golden loss has the router's scores in it, too.
    scores = (space.flatten(0, 1) @ layer.gate.weight.T).softmax(-1)
    near(scores, a["out/scores"], values)
    loss = (lift(out, 1.0) * a["cot/y"].to(dtype)).sum()
    (loss + (scores * a["cot/scores"].to(dtype)).sum()).backward()
    near(torch.cat([time.grad, space.grad], dim=-1), a["grad/in/x"], gradients)
    expected = a.below("grad/param/")
    for name, tensor in of_experts(expected).items():
        near(getattr(layer.experts, name).grad, tensor, gradients, name)
    K = torch.stack([a[f"param/experts.{e}.expert_manifold.k"] for e in range(4)])
    by_K = torch.stack([expected[f"experts.{e}.expert_manifold.k"] for e in range(4)])
    near(layer.experts.log_curvature.grad, by_K * K, gradients)
    near(layer.gate.weight.grad, expected["gate.weight"], gradients)
    near(layer.merge.weight.grad[0], expected["add_experts.w_y"], gradients)
    near(layer.merge.log_gain.grad[0], expected["add_experts.scale"], gradients)
    shared = layer.shared_experts.gate_proj
    near(shared.weight.grad, expected["shared_experts.w1.linear.weight"][:, 1:], gradients)


@kinds
def test_the_router_chooses_by_its_bias_and_weighs_without(golden, layer_of, near, kind):
    a = golden(f"mice_{kind}")
    layer = layer_of(a.below("param/"))
    assert layer.gate.e_score_correction_bias.any()
    chosen, weights, _ = layer.gate(a["in/x"][..., 1:].flatten(0, 1))
    order = a["out/topk_indices"].sort(dim=-1)
    assert torch.equal(chosen, order.values)
    near(weights, a["out/topk_weights"].gather(1, order.indices), 1e-9)
    assert torch.equal(layer.gate.routing().counts.long(), a["out/counts"])


@pytest.mark.parametrize("expert", [0, 3])
@kinds
def test_one_expert(golden, layer_of, near, kind, expert):
    a, b = golden(f"mice_{kind}"), golden(f"mice_{kind}_expert{expert}")
    experts = layer_of(a.below("param/")).experts
    # Its own parameters, which may not be those of the layer's file.
    own = b.below("param/")
    public = {f"experts.{e}.{name}": tensor for e in range(4) for name, tensor in own.items()}
    for name, tensor in of_experts(public).items():
        getattr(experts, name).data.copy_(tensor)
    experts.log_curvature.data.fill_(own["expert_manifold.k"].log())
    space, time = leaves(b["in/x"], torch.float64)
    out = lift(experts(space, time, torch.full((len(space), 1), expert)).squeeze(1), 1.0)
    near(out, b["out/y"], 1e-9)
    (out * b["cot/y"]).sum().backward()
    near(torch.cat([time.grad, space.grad], dim=-1), b["grad/in/x"], 1e-9)
    near(experts.down_bias.grad[expert], b["grad/param/w2.linear.bias"], 1e-9)
    by_K = b["grad/param/expert_manifold.k"] * own["expert_manifold.k"]
    near(experts.log_curvature.grad[expert], by_K, 1e-9)


@pytest.mark.parametrize("merge", ["helm", "centroid"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_other_choices_beside_the_literal_form(golden, layer_of, reference, near, merge, k):
    a = golden("mice_distinct")
    layer = layer_of(a.below("param/"), merge=merge, num_experts_per_tok=k)
    expected = reference.experts_layer(a["in/x"], a.below("param/"), 4, k=k, merge=merge)
    out, _ = layer(*leaves(a["in/x"], torch.float64))
    near(lift(out, 1.0), expected, 1e-9)


def test_a_centroid_does_not_ask_for_the_experts_numbers(golden, layer_of, near):
    """The public merge does: exchanging two experts changes what it gives."""
    found = {}
    for merge in ("helm", "centroid"):
        for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
            a = golden("mice_distinct")
            layer = layer_of(a.below("param/"), merge=merge)
            for tensor in [*layer.experts.parameters(), layer.gate.weight]:
                tensor.data = tensor.data[order]
            layer.gate.e_score_correction_bias = layer.gate.e_score_correction_bias[order]
            found[merge, order[0]] = layer(*leaves(a["in/x"], torch.float64))[0]
    near(found["centroid", 0], found["centroid", 3], 1e-9)
    assert (found["helm", 0] - found["helm", 3]).norm() > 0.01 * found["helm", 0].norm()


def test_the_balance_loss_and_the_step_of_the_bias(golden, config, near):
    a = golden("mice_balance")
    router = Router(config("helm_mice", balance_loss=1e-4, balance_bias=0.005)).double()
    router.initialize()
    router.train()
    scores, counts = a["in/scores"].clone().requires_grad_(), a["in/counts"]
    # 20 tokens with the golden counts: their choice is given, whatever their scores are.
    slots = torch.repeat_interleave(torch.arange(4), counts)
    chosen = slots.view(2, 20).T.contiguous()
    loss = router.balance(scores, chosen, None)
    near(loss, a["out/loss"], 1e-9)
    loss.backward()
    near(scores.grad, a["grad/in/scores"], 1e-9)
    router.move_bias()
    near(router.e_score_correction_bias, a["out/bias_after_one_update_from_zero"], 1e-9)
    router.move_bias()  # without tokens since then nothing moves
    near(router.e_score_correction_bias, a["out/bias_after_one_update_from_zero"], 1e-9)


def test_padding_is_no_load(config):
    torch.manual_seed(0)
    router = Router(config("helm_mice"))
    router.initialize()
    space = torch.randn(10, 24)
    losses, found = [], []
    for rows, valid in ((space[:6], None), (space, (torch.arange(10) < 6).long())):
        losses.append(router(rows, valid)[2])
        found.append(router.routing())
    assert torch.equal(found[0].counts, found[1].counts)
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(found[0].probabilities, found[1].probabilities)
    torch.testing.assert_close(found[0].entropy, found[1].entropy)
    assert router.eval()(space)[2] is None


def test_a_router_by_groups_and_sigmoids(config):
    torch.manual_seed(0)
    given = {"router_scores": "sigmoid", "n_group": 2, "topk_group": 1}
    router = Router(config("helm_mice", **given))
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
