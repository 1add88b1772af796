"""Distances within a point cloud, and what makes a matrix one of distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.geometry.inputs import floating

if TYPE_CHECKING:
    import numpy

    Array = Tensor | numpy.ndarray

OF_POINTS = ("euclidean", "cosine")

# How far rounding may put distances from what they must be, as a share of the largest; of half
# precision more.
_ROUNDING = {torch.float64: 1e-7, torch.float32: 1e-5}
_IMPROPER = "distances must be finite and not negative"


def distances(points: Array, metric: str = "euclidean") -> Tensor:
    """All distances within a point cloud.

    ``"cosine"`` is the Euclidean distance of the vectors set to length 1, ``sqrt(2 - 2 cos)``. It
    orders pairs as the cosine does and leaves out the norms alone, and unlike ``1 - cos`` it is a
    metric: the triangle inequality holds.

    The sum of squares less twice the product loses half the digits between near points. So float32
    and half precision are multiplied in float64, less their mean: what is left is right to float32,
    but that points nearer than 1e-8 of the cloud's radius may count as one. float64 points are
    subtracted one from the other.

    Args:
        points: ``(n, d)``, floating-point, a tensor on any device or a numpy array.
        metric: ``"euclidean"`` or ``"cosine"``.

    Returns:
        ``(n, n)``, float64 for float64 points and else float32; exactly 0 on the diagonal.

    Raises:
        ValueError: no such metric; points that are not 2-D, none, or not finite; a zero vector with
            ``"cosine"``.
        TypeError: ``points`` is not floating-point.
    """
    if metric not in OF_POINTS:
        raise ValueError(f"metric must be {' or '.join(OF_POINTS)}, got {metric!r}")
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
            raise ValueError("a zero vector has no cosine to others: leave it out")
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
    """A square matrix as a tensor to compute with: whole numbers as float64, halves as float32.

    Raises:
        ValueError: it is not square, or empty.
        TypeError: it holds complex numbers.
    """
    matrix = torch.as_tensor(given)
    shape = tuple(matrix.shape)
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise ValueError(f"distances must be (n, n), n at least 1, got {shape}")
    if matrix.is_floating_point() or matrix.is_complex():
        return floating(matrix)
    return matrix.double()


def check_metric(matrices: Tensor, diameters: Tensor, precision: torch.dtype, room: Tensor) -> None:
    """Check that matrices hold distances, as far as that is quick.

    Of the triangle inequalities those with the first point are looked at; all would take longer
    than delta does. No number that passes is negative: with the first point, d(a, b) is at least
    the difference of two distances, and each of these at least half of d(a, a) = 0.

    Args:
        matrices: ``(batch, n, n)``, float32 or float64.
        diameters: ``(batch,)``, the largest number of each.
        precision: the dtype that the distances were given in.
        room: to compute in, like matrices.

    Raises:
        ValueError: a distance is negative or not finite; a matrix is not symmetric, or not 0 on the
            diagonal; a triangle inequality does not hold. By more than rounding, each.
    """
    high = float(diameters.max())
    # Each comparison is written such that NaN fails it.
    if not 0 <= high < float("inf"):
        raise ValueError(_IMPROPER)
    allowed = _ROUNDING.get(precision, 1e-2) * high
    if not float(matrices.diagonal(dim1=1, dim2=2).abs().max()) <= allowed:
        raise ValueError(
            "distances must be 0 on the diagonal; those of torch.cdist are where "
            "compute_mode='donot_use_mm_for_euclid_dist'"
        )
    if not float(torch.sub(matrices, matrices.mT, out=room).max()) <= allowed:
        raise ValueError("distances must be symmetric: d(a, b) = d(b, a)")
    first = matrices[:, 0]
    # 2 (a|b)_w, which is from 0 to 2 d(a, w) in a metric space
    twice = torch.add(first[:, :, None], first[:, None], out=room).sub_(matrices)
    below, above = -float(twice.min()), float(twice.sub_(2 * first[:, None]).max())
    if not max(below, above) <= 2 * allowed:
        if float(matrices.min()) < -allowed:
            raise ValueError(_IMPROPER)
        raise ValueError(
            "distances must obey the triangle inequality, d(a, b) <= d(a, c) + d(c, b). 1 - cos "
            "does not; metric='cosine' is sqrt(2 - 2 cos)"
        )
