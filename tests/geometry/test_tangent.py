"""The Lorentz model's maps at any point."""

import pytest
import torch
from safetensors.torch import load_file

from bench.geometry.lorentz import dist, expmap0, inner, logmap0, project
from bench.geometry.tangent import expmap, time_flipped, to_tangent, transport

CURVATURES = [0.5, 1.0, 2.0]


def points(seed, K):
    v = torch.randn(6, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return expmap0(v, K)


@pytest.mark.parametrize("K", CURVATURES)
def test_every_map_gives_the_golden_arrays(golden_file, K):
    a = load_file(golden_file(f"helm/primitives_c{K}.safetensors"))
    x, y, zero = a["in/x"], a["in/y"], torch.zeros_like(a["in/x"][:, :1])
    values = {
        "inner": inner(x, y),
        "dist": dist(x, y, K),
        "dist0": dist(x, project(torch.zeros_like(x[:, 1:]), K), K),
        "expmap0": expmap0(a["in/tangent0"][:, 1:], K),
        "logmap0": torch.cat([zero, logmap0(x, K)], dim=-1),
        "expmap": expmap(x, a["in/tangent_at_x"], K),
        "transp": transport(x, y, a["in/tangent_at_x"], K),
        "projx": project(a["out/projx"][:, 1:], K),
    }
    for name, value in values.items():
        torch.testing.assert_close(value, a[f"out/{name}"], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize(
    "K, length, rtol", [(0.5, 1.3, 1e-10), (2.0, 0.2, 1e-10), (1.0, 1e-5, 1e-6)]
)
def test_a_step_moves_a_point_by_its_length(K, length, rtol):
    x = points(0, K)
    v = to_tangent(x, torch.ones_like(x), K)
    v = length * v / inner(v, v).sqrt().unsqueeze(-1)
    moved = expmap(x, v, K)
    torch.testing.assert_close(inner(moved, moved), torch.full((6,), -K).double())
    assert dist(moved, x, K).tolist() == pytest.approx([length] * 6, rel=rtol)


@pytest.mark.parametrize("K", CURVATURES)
def test_transport_keeps_products_and_stays_tangent(K):
    x, y = points(0, K), points(1, K)
    v, w = (to_tangent(x, points(seed, K), K) for seed in (2, 3))
    there, other = transport(x, y, v, K), transport(x, y, w, K)
    torch.testing.assert_close(inner(there, other), inner(v, w))
    torch.testing.assert_close(inner(there, y), torch.zeros(6, dtype=torch.float64))


def test_the_flipped_vector_makes_an_ordinary_product():
    x, y = points(0, 1.0), points(1, 1.0)
    torch.testing.assert_close((time_flipped(x) * y).sum(-1), inner(x, y))
