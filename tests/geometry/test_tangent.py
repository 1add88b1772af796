"""The Lorentz model's maps at any point."""

from pathlib import Path

import pytest
import torch

from bench.geometry.lorentz import dist, expmap0, inner, logmap0, project
from bench.geometry.tangent import (
    centroid,
    expmap,
    logmap,
    pairwise_inner,
    squared_distance,
    time_flipped,
    to_tangent,
    transport,
)

CURVATURES = [0.5, 1.0, 2.0]


def points(seed, K, shape=(6, 7)):
    v = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return expmap0(v, K)


@pytest.fixture(scope="session")
def primitives():
    """A function that reads golden arrays of a curvature, which some checkouts have beside them."""
    from safetensors.torch import load_file

    parents = Path(__file__).resolve().parents
    found = [p / "shared/fixtures/helm" for p in parents if (p / "shared/fixtures/helm").is_dir()]
    if not found:
        pytest.skip("the folder of HELM's golden arrays is not beside this checkout")
    return lambda K: load_file(found[0] / f"primitives_c{K}.safetensors")


@pytest.mark.parametrize("K", CURVATURES)
def test_every_map_gives_the_golden_arrays(primitives, K):
    a = primitives(K)
    x, y = a["in/x"], a["in/y"]
    zero = torch.zeros_like(x[:, :1])
    found = {
        "inner": inner(x, y),
        "pairwise_inner": pairwise_inner(x, y),
        "sqdist_lorentz": squared_distance(x, y),
        "dist": dist(x, y, K),
        "dist0": dist(x, project(torch.zeros_like(x[:, 1:]), K), K),
        "expmap0": expmap0(a["in/tangent0"][:, 1:], K),
        "logmap0": torch.cat([zero, logmap0(x, K)], dim=-1),
        "expmap": expmap(x, a["in/tangent_at_x"], K),
        "logmap": logmap(x, y, K),
        "transp": transport(x, y, a["in/tangent_at_x"], K),
        "centroid_weighted": centroid(a["in/points"], K, a["in/weights"]),
        "centroid_mean": centroid(a["in/points"], K),
    }
    for name, array in found.items():
        torch.testing.assert_close(array, a[f"out/{name}"], rtol=1e-9, atol=1e-9, msg=name)
    off = torch.cat([zero, a["out/projx"][:, 1:]], dim=-1)
    torch.testing.assert_close(project(off[:, 1:], K), a["out/projx"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("K", CURVATURES)
def test_log_is_the_inverse_of_exp(K):
    x, y = points(0, K), points(1, K)
    torch.testing.assert_close(expmap(x, logmap(x, y, K), K), y)
    length = inner(logmap(x, y, K), logmap(x, y, K)).sqrt()
    torch.testing.assert_close(length, dist(x, y, K))


def test_a_short_step_in_float32_is_as_long_as_it_says():
    """arcosh can't tell such distances from 0 in float32."""
    x = points(0, 1.0).float()
    v = to_tangent(x, torch.ones_like(x), 1.0)
    v = v / inner(v, v).sqrt().unsqueeze(-1) * 1e-5
    moved = expmap(x.double(), v.double(), 1.0)
    assert dist(moved, x.double(), 1.0) == pytest.approx(torch.full((6,), 1e-5), rel=1e-3)


@pytest.mark.parametrize("K", CURVATURES)
def test_transport_keeps_products_and_stays_tangent(K):
    x, y = points(0, K), points(1, K)
    v, w = (to_tangent(x, points(seed, K), K) for seed in (2, 3))
    there, other = transport(x, y, v, K), transport(x, y, w, K)
    torch.testing.assert_close(inner(there, other), inner(v, w))
    torch.testing.assert_close(inner(there, y), torch.zeros(6, dtype=torch.float64))


def test_the_centroid_of_equal_points_is_that_point():
    x = points(0, 1.3)
    same = x[:1].expand(4, -1)
    torch.testing.assert_close(centroid(same, 1.3), x[0])


def test_the_flipped_vector_makes_an_ordinary_product():
    x, y = points(0, 1.0), points(1, 1.0)
    torch.testing.assert_close((time_flipped(x) * y).sum(-1), inner(x, y))
