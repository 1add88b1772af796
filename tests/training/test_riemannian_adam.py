import copy

import pytest
import torch
from safetensors.torch import load_file

from bench.geometry.lorentz import dist, expmap0, inner
from bench.training.riemannian_adam import RiemannianAdam


def points(seed=0, dtype=torch.float64, K=1.0):
    v = torch.randn(20, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return expmap0(v, K).to(dtype)


def test_four_golden_steps(golden_file):
    golden = load_file(golden_file("helm/riemannian_adam.safetensors"))
    table = torch.nn.Parameter(golden["in/point0"].clone())
    optimizer = RiemannianAdam([table], lr=0.05)
    for i in range(4):
        table.grad = golden[f"in/egrad{i}"]
        optimizer.step()
        state = optimizer.state[table]
        # geoopt assumes that every tangent vector is at least 1e-4 long: a row without a gradient
        # is multiplied by cosh(1e-4) there at each step, and stays here.
        moved = state["exp_avg_sq"] > 0
        for found, name in ((table, "point"), (state["exp_avg"], "momentum")):
            expected = golden[f"out/{name}{i + 1}"]
            torch.testing.assert_close(found.data[moved], expected[moved], rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(found.data[~moved], expected[~moved], rtol=1e-7, atol=1e-7)
        assert moved.sum() >= 5
        second = golden[f"out/second{i + 1}"]
        torch.testing.assert_close(state["exp_avg_sq"], second[:, 0], rtol=1e-9, atol=1e-12)


def test_it_converges_to_a_point():
    K = 2.0
    target, table = points(1, K=K), torch.nn.Parameter(points(0, K=K))
    optimizer = RiemannianAdam([table], lr=0.1, K=K)
    for _ in range(150):
        optimizer.zero_grad()
        dist(table, target, K).square().sum().backward()
        optimizer.step()
    assert dist(table.detach(), target, K).max() < 0.02
    torch.testing.assert_close(inner(table, table), torch.full((20,), -K, dtype=torch.float64))


def test_a_short_step_in_float32_has_its_length():
    """The public code's steps of 1e-5 are 24 times too long."""
    table = torch.nn.Parameter(points(0, torch.float32))
    space = table.detach().double()[:, 1:]
    before = torch.cat([(space.square().sum(-1, keepdim=True) + 1).sqrt(), space], 1)
    table.grad = torch.randn_like(table)
    RiemannianAdam([table], lr=1e-4).step()
    length = dist(table.detach().double(), before, 1.0)
    torch.testing.assert_close(length, torch.full_like(length, 1e-4), rtol=0.02, atol=0)


def test_rows_without_a_gradient_stay():
    table = torch.nn.Parameter(points())
    before = table.detach().clone()
    table.grad = torch.zeros_like(table)
    table.grad[3] = 1.0
    RiemannianAdam([table], lr=0.1).step()
    moved = (table.detach() - before).norm(dim=-1) > 1e-12
    assert moved.tolist() == [i == 3 for i in range(20)]


def test_a_loaded_state_continues_exactly():
    first = torch.nn.Parameter(points())
    optimizer = RiemannianAdam([first], lr=0.05)
    for seed in (1, 2):
        first.grad = points(seed)
        optimizer.step()
    second = torch.nn.Parameter(first.detach().clone())
    other = RiemannianAdam([second], lr=0.05)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for seed in (3, 4):
        for table, own in ((first, optimizer), (second, other)):
            table.grad = points(seed)
            own.step()
    assert torch.equal(first, second)


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"K": 0.0}, {"betas": (1.0, 0.9)}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must not be negative"):
        RiemannianAdam([torch.nn.Parameter(points())], **wrong)
