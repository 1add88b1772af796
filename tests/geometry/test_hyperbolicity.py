"""Gromov's delta: known answers, brute force over all quadruples, and what is refused."""

from __future__ import annotations

import math

import networkx as nx
import numpy
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.geometry import maxmin
from bench.geometry.hyperbolicity import delta, relative_delta, relative_deltas
from bench.geometry.lorentz import dist, expmap0
from bench.geometry.metric import distances

few = settings(derandomize=True, deadline=None, max_examples=10)
seeds = st.integers(0, 2**31)


def cloud(n, d, seed=0, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def steps(graph):
    """The distances of a connected graph, in steps or by the weights of its edges."""
    return numpy.asarray(nx.floyd_warshall_numpy(graph))


def literal(d, w=0):
    """delta at one base point, straight from the definition."""
    products = (d[w][:, None] + d[w][None, :] - d) / 2
    through = numpy.minimum(products[:, :, None], products[None, :, :]).max(axis=1)
    return (through - products).max()


def random_metric(n, seed):
    """The shortest paths in a complete graph with random edges: a non-Euclidean metric."""
    random = numpy.random.default_rng(seed)
    weights = random.random((n, n)) ** 3 + 0.01
    return steps(nx.from_numpy_array(weights + weights.T))


def hyperbolic(n, K, radius, seed=0):
    """Distances of points in a ball of the hyperbolic plane of curvature -1/K, evenly in radius."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
    length = radius * torch.rand(n, generator=generator, dtype=torch.float64)
    points = expmap0(length[:, None] * torch.stack([angle.cos(), angle.sin()], 1), K)
    return dist(points[:, None], points[None], K)


# Known answers


@pytest.mark.parametrize("base_point", ["first", "all"])
@pytest.mark.parametrize("n", [5, 40, 135])
def test_trees_have_delta_0(n, base_point):
    tree = nx.random_labeled_tree(n, seed=n)
    assert delta(steps(tree), base_point) == 0
    random = numpy.random.default_rng(n)
    nx.set_edge_attributes(tree, {edge: random.random() for edge in tree.edges}, "weight")
    weighted = steps(tree)
    assert delta(weighted, base_point) < 1e-15 * weighted.max() * n


def cycle_delta(n):
    return n // 4 - 0.5 if n % 4 == 1 else n // 4


@pytest.mark.parametrize(
    "graph, expected",
    [
        *((nx.cycle_graph(n), cycle_delta(n)) for n in (4, 5, 6, 7, 8, 9, 40, 41, 42, 43, 160)),
        *((nx.hypercube_graph(d), d // 2) for d in (2, 3, 4, 5)),  # from two pairs of corners
        (nx.complete_graph(30), 0),
        (nx.complete_bipartite_graph(5, 8), 1),
        (nx.grid_2d_graph(5, 5), 4),
    ],
    ids=lambda value: f"{len(value)} nodes" if isinstance(value, nx.Graph) else f"{value:g}",
)
def test_graphs_have_their_known_delta(graph, expected):
    matrix = steps(graph)
    assert delta(matrix, "all") == expected
    (relative,) = relative_deltas([matrix], "all", "precomputed")
    assert relative == 2 * expected / matrix.max()


def test_the_hyperbolic_plane_has_the_delta_of_its_curvature_at_most():
    # (a|b)_w is hyperbolic with log 2 in the plane of curvature -1; lengths scale with sqrt(K)
    for K in (0.25, 1.0, 9.0):
        found = delta(hyperbolic(90, K, 20 * math.sqrt(K)), "all")
        assert 0.5 * math.log(2) * math.sqrt(K) < found <= math.log(2) * math.sqrt(K) + 1e-9


# The definition


@few
@given(seeds, st.integers(4, 12))
def test_delta_is_its_definition(seed, n):
    for matrix in (random_metric(n, seed), distances(cloud(n, 2, seed)).numpy()):
        first, every = delta(matrix, "first"), delta(matrix, "all")
        assert first == pytest.approx(literal(matrix), abs=1e-14)
        assert every == pytest.approx(max(literal(matrix, w) for w in range(n)), abs=1e-14)
        assert first <= every <= 2 * first + 1e-14


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_delta_has_the_unit_of_the_distances_and_the_relative_one_none(scale):
    matrix = random_metric(30, 3)
    assert delta(scale * matrix, "all") == pytest.approx(scale * delta(matrix, "all"), rel=1e-12)
    points = cloud(30, 8)
    assert relative_delta(scale * points, "all") == pytest.approx(relative_delta(points, "all"))


# Degenerate spaces


@pytest.mark.parametrize("base_point", ["first", "all"])
def test_fewer_than_four_points_and_coinciding_points_have_delta_0(base_point):
    for points in (*(cloud(n, 5) for n in (1, 2, 3)), torch.ones(6, 4), torch.ones(140, 4)):
        assert relative_delta(points, base_point) == 0
        assert delta(distances(points), base_point) == 0


# Many clouds


@pytest.mark.parametrize("base_point", ["first", "all"])
def test_neighbours_in_a_batch_change_no_bit(base_point):
    sizes = [3, 40, 44, 43, 1, 40, 41, *range(36, 44), 60, 130, 41]
    clouds = [cloud(n, 5 + n % 3, n + i, torch.float32) for i, n in enumerate(sizes)]
    counts = []
    together = relative_deltas(clouds, base_point, progress=counts.append)
    assert together == [relative_delta(one, base_point) for one in clouds]
    assert sum(counts) == len(clouds) and len(counts) < len(clouds)


def test_a_batch_may_mix_dtypes():
    clouds = [cloud(20, 6, i).to((torch.float64, torch.float32)[i % 2]) for i in range(24)]
    exact = [relative_delta(one.double(), "all") for one in clouds]
    found = relative_deltas([c.numpy() if i % 3 else c for i, c in enumerate(clouds)], "all")
    assert found[::2] == exact[::2]
    assert found[1::2] == pytest.approx(exact[1::2], abs=1e-6) and found[1::2] != exact[1::2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "kind", ["points", "tree", "hyperbolic plane", "near copies", "cycle", "steps"]
)
def test_both_ways_to_compute_give_the_same_bits(kind, dtype):
    made = {
        "points": lambda i: distances(cloud(24, 12, i)),
        "tree": lambda i: torch.as_tensor(steps(nx.random_labeled_tree(24, seed=i))) * 0.37,
        "hyperbolic plane": lambda i: hyperbolic(24, 1.0, 6.0, i),
        "near copies": lambda i: distances(cloud(24, 4, i).round() + 1e-3 * cloud(24, 4, 100 + i)),
        "cycle": lambda i: torch.as_tensor(steps(nx.cycle_graph(24))) * (i + 1.1),
        "steps": lambda i: torch.as_tensor(
            steps(nx.connected_watts_strogatz_graph(24, 4, 0.3, seed=i))
        ),
    }[kind]
    spaces = torch.stack([made(i) for i in range(9)]).to(dtype)
    for every in (False, True):
        pruned = [maxmin.pruned_delta(space, every) for space in spaces]
        assert maxmin.batched_deltas(list(spaces), every) == pruned
        for space, found in zip(spaces[:1].double().numpy(), pruned[:1], strict=True):
            worst = max(literal(space, w) for w in range(24 if every else 1))
            assert found == pytest.approx(worst, abs=1e-6 * space.max())


def test_small_blocks_give_the_same(monkeypatch):
    clouds = [cloud(n, 4, n, torch.float32) for n in (16,) * 9 + (129,)]
    expected = relative_deltas(clouds, "all")
    monkeypatch.setattr(maxmin, "temporary_values", lambda device: 300)
    assert relative_deltas(clouds, "all") == expected
    assert relative_deltas([]) == []


# What is refused


@pytest.mark.parametrize(
    "matrix, said",
    [
        (numpy.ones((2, 3)), "must be \\(n, n\\).*got \\(2, 3\\)"),
        (numpy.ones((0, 0)), "n at least 1"),
        (numpy.ones(4), "must be \\(n, n\\)"),
        (numpy.full((4, 4), numpy.nan), "finite and not negative"),
        (numpy.eye(4) * 0 + [[0, 1, numpy.inf, 1]] * 4, "finite and not negative"),
        (-numpy.ones((4, 4)), "finite and not negative"),
        (numpy.array([[0, 1, 1], [1, 0, -1], [1, -1, 0]]), "finite and not negative"),
        (numpy.ones((4, 4)), "0 on the diagonal"),
        (numpy.triu(numpy.ones((4, 4)), 1), "symmetric"),
        (numpy.array([[0, 1, 5], [1, 0, 1], [5, 1, 0]]), "triangle inequality"),
        (numpy.array([[0, 1, 1], [1, 0, 5], [1, 5, 0]]), "triangle inequality"),
        (
            (1 - F.cosine_similarity(cloud(20, 3)[:, None], cloud(20, 3)[None], dim=-1))
            .clamp_min(0)
            .fill_diagonal_(0),
            "1 - cos does not; metric='cosine'",
        ),
    ],
)
def test_a_matrix_that_is_not_one_of_distances_is_refused(matrix, said):
    with pytest.raises(ValueError, match=said):
        delta(matrix)
    with pytest.raises(ValueError, match=said):
        relative_deltas([matrix], metric="precomputed")


def test_rounding_of_a_matrix_is_accepted():
    matrix = distances(cloud(30, 16)).numpy()
    for dtype in (numpy.float32, numpy.float16):
        assert delta(matrix.astype(dtype)) == pytest.approx(delta(matrix), rel=0.05)
    noisy = matrix * (1 + 1e-9 * numpy.random.default_rng(0).random(matrix.shape))
    assert delta(noisy, "all") == pytest.approx(delta(matrix, "all"), abs=1e-7)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"base_point": "last"}, "base_point must be one of first, all, got 'last'"),
        ({"metric": "manhattan"}, "metric must be one of euclidean, cosine, precomputed"),
    ],
)
def test_unknown_names_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        relative_delta(cloud(5, 3), **options)
