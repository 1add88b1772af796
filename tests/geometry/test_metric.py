"""Distances within point clouds."""

from __future__ import annotations

import math

import numpy
import pytest
import torch
from scipy.spatial.distance import cdist

from bench.geometry.metric import as_matrix, distances


def cloud(n, d, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("dtype, rtol", [(torch.float64, 1e-14), (torch.float32, 1e-7)])
def test_euclidean_distances_are_scipys(dtype, rtol):
    points = cloud(30, 50, dtype)
    found = distances(points)
    assert found.dtype == dtype and torch.equal(found, found.T) and not found.diagonal().any()
    assert numpy.allclose(found, cdist(points.double(), points.double()), rtol=rtol, atol=1e-12)


def test_near_points_far_from_the_origin_keep_their_digits():
    # In float32 |a|^2 + |b|^2 - 2ab would be 0 here, or negative.
    points = 1e4 + 1e-2 * torch.arange(8, dtype=torch.float32)[:, None].expand(8, 100)
    exact = cdist(points.double(), points.double())
    assert numpy.allclose(distances(points), exact, rtol=1e-6)
    product = torch.cdist(points, points, compute_mode="use_mm_for_euclid_dist")
    assert not numpy.allclose(product, exact, rtol=0.5)


def test_copies_coincide():
    found = distances(torch.cat([cloud(40, 300, torch.float32)] * 2))
    assert float(found.diagonal(40).max()) <= 1e-6 * float(found.max())


def test_cosine_is_the_distance_of_directions_and_a_metric():
    points = torch.cat([cloud(25, 4), -cloud(1, 4)])  # the first and the last are opposite
    found = distances(points * torch.linspace(0.1, 30, 26)[:, None], "cosine").numpy()
    assert numpy.allclose(found, numpy.sqrt(2 * cdist(points, points, "cosine")), atol=1e-7)
    ways = found[:, :, None] + found[None]  # d(a, c) + d(c, b)
    assert (found[:, None, :] <= ways + 1e-12).all() and found.max() <= 2 + 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_more(dtype):
    points = cloud(10, 64).to(dtype)
    found = distances(points)
    assert found.dtype == torch.float32
    assert torch.allclose(found, distances(points.double()).float())


def test_numpy_arrays_and_integers_are_accepted():
    assert distances(numpy.eye(3, dtype=numpy.float32)).dtype == torch.float32
    assert as_matrix(numpy.array([[0, 2], [2, 0]])).dtype == torch.float64
    assert as_matrix(torch.zeros(2, 2, dtype=torch.float16)).dtype == torch.float32


@pytest.mark.parametrize(
    "points, options, error, said",
    [
        (torch.zeros(3), {}, ValueError, "points must be \\(n, d\\)"),
        (torch.zeros(0, 3), {}, ValueError, "n at least 1"),
        (torch.tensor([[0.0, math.nan], [1, 1]]), {}, ValueError, "NaN or infinity"),
        (torch.tensor([[0.0, math.inf], [1, 1]]), {}, ValueError, "NaN or infinity"),
        (torch.tensor([[0.0, 0.0], [1, 1]]), {"metric": "cosine"}, ValueError, "zero vector"),
        (torch.ones(2, 2), {"metric": "precomputed"}, ValueError, "euclidean or cosine"),
        (torch.ones(2, 2, dtype=torch.long), {}, TypeError, "call .float"),
    ],
)
def test_bad_points_are_refused(points, options, error, said):
    with pytest.raises(error, match=said):
        distances(points, **options)
