"""Distances within a point cloud, and the checks of given distance matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.geometry.inputs import floating

if TYPE_CHECKING:
    import numpy

    Array = Tensor | numpy.ndarray

POINT_METRICS = ("euclidean", "cosine")

# Rounding error that distances may have, relative to the largest; half precision may have more.
_ROUNDING = {torch.float64: 1e-7, torch.float32: 1e-5}
_NOT_DISTANCES = "distances must be finite and not negative"


def distances(points: Array, metric: str = "euclidean") -> Tensor:
    """All distances within a point cloud.

    ``"cosine"`` is the Euclidean distance of the normalised vectors, ``sqrt(2 - 2 cos)``. It orders
    pairs as ``1 - cos`` does, and unlike that it is a metric: the triangle inequality holds.

    ``|a|^2 + |b|^2 - 2 a.b`` loses half the digits between near points. So float32 and half
    precision are centred and multiplied in float64, which is accurate to float32 except that points
    nearer than 1e-8 of the cloud's radius may coincide. float64 points are subtracted pairwise.

    Args:
        points: ``(n, d)``, floating-point, a tensor on any device or a numpy array.
        metric: ``"euclidean"`` or ``"cosine"``.

    Returns:
        ``(n, n)``, float64 for float64 points and else float32; exactly 0 on the diagonal.

    Raises:
        ValueError: unknown metric; points that are empty, not 2-D or not finite; a zero vector
            with ``"cosine"``.
        TypeError: ``points`` is not floating-point.
    """
    if metric not in POINT_METRICS:
        raise ValueError(f"metric must be {' or '.join(POINT_METRICS)}, got {metric!r}")
    x = torch.as_tensor(points)
    if x.ndim != 2 or not len(x):
        raise ValueError(f"points must be (n, d), n at least 1, got {tuple(x.shape)}")
    dtype = floating(x[:1]).dtype
    x = x.double()
    centre = x.mean(0)
    if not centre.isfinite().all():
        raise ValueError("points must be finite, got NaN or infinity")
    if metric == "cosine":
        lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        if not lengths.all():
            raise ValueError("the cosine of a zero vector is undefined: remove it")
        x = x / lengths
        centre = x.mean(0)
    if dtype == torch.float64:
        return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    x = x - centre
    products = x @ x.T
    squares = products.diagonal().clone()
    products.mul_(-2).add_(squares[:, None]).add_(squares).clamp_min_(0).sqrt_()
    return products.fill_diagonal_(0).to(dtype)


def as_matrix(given: Array) -> Tensor:
    """A distance matrix as a tensor: integers as float64, half precision as float32.

    Only the triangle inequalities with the first point are checked; all would take longer than
    delta. They imply that no distance is negative: ``d(a, b) >= |d(a, w) - d(b, w)|``.

    Raises:
        ValueError: it is not square, or empty; or beyond rounding, a distance is negative or not
            finite, it is not symmetric or not 0 on the diagonal, or a triangle inequality does not
            hold.
        TypeError: it is complex.
    """
    matrix = torch.as_tensor(given)
    shape, precision = tuple(matrix.shape), matrix.dtype
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise ValueError(f"distances must be (n, n), n at least 1, got {shape}")
    numeric = precision.is_floating_point or precision.is_complex
    matrix = floating(matrix) if numeric else matrix.double()
    high = float(matrix.max())
    # Every comparison is false for NaN.
    if not 0 <= high < float("inf"):
        raise ValueError(_NOT_DISTANCES)
    allowed = _ROUNDING.get(precision, 1e-2) * high
    if not float(matrix.diagonal().abs().max()) <= allowed:
        raise ValueError(
            "distances must be 0 on the diagonal; torch.cdist needs "
            "compute_mode='donot_use_mm_for_euclid_dist' for that"
        )
    if not float((matrix - matrix.T).max()) <= allowed:
        raise ValueError("distances must be symmetric: d(a, b) = d(b, a)")
    first = matrix[0]
    # 2 (a|b)_w is between 0 and 2 d(a, w) in a metric space
    twice = torch.add(first[:, None], first).sub_(matrix)
    below, above = -float(twice.min()), float(twice.sub_(2 * first).max())
    if not max(below, above) <= 2 * allowed:
        if float(matrix.min()) < -allowed:
            raise ValueError(_NOT_DISTANCES)
        raise ValueError(
            "distances must satisfy the triangle inequality, d(a, b) <= d(a, c) + d(c, b). 1 - cos "
            "does not; metric='cosine' is sqrt(2 - 2 cos)"
        )
    return matrix
