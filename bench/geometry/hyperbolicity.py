"""Gromov's delta-hyperbolicity of finite metric spaces: how far one is from a tree.

With the Gromov product ``(a|b)_w = (d(a,w) + d(b,w) - d(a,b)) / 2``, a space is delta-hyperbolic
*at the base point w* if ``(a|b)_w >= min((a|c)_w, (c|b)_w) - delta`` for all a, b, c. The least
such delta is a max-min matrix product:

    delta_w = max over a, b of [ max over c of min((a|c)_w, (c|b)_w) ] - (a|b)_w

and delta is the largest delta_w. A tree has delta 0; the sphere, the flat plane at all scales and
random graphs are far from it. What is reported is ``2 delta / diameter``, from 0 to 1, which does
not change with the unit of length.

- ``base_point="first"`` is delta_w at the first point, as the HypLoRA paper measures it with the
  prompt's first token (arXiv 2410.04010, Table 2). It is at least half of delta, so never more
  than a factor of 2 too small.
- ``base_point="all"`` is the definition: the worst base point, exactly.

Points that coincide do not change either number, nor does the order of points (but for which is
first). The triangle inequality is taken for granted: checking it would cost as much as delta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.geometry.inputs import floating

if TYPE_CHECKING:
    import numpy

    Array = Tensor | numpy.ndarray

BASE_POINTS = ("first", "all")
METRICS = ("euclidean", "cosine", "precomputed")

_BLOCK = 1 << 18  # numbers of a temporary: with its operands it stays in a core's cache
_BATCH = 1 << 22  # numbers in the distance matrices of a batch


def delta(distances: Array, base_point: str = "first") -> float:
    """Gromov's delta of one metric space, in the unit of its distances.

    Args:
        distances: ``(n, n)``, a tensor on any device or a numpy array: symmetric, zero on the
            diagonal. float64 is computed in float64, float32 and half precision in float32, whole
            numbers (hops in a graph) in float64.
        base_point: ``"first"`` or ``"all"``.

    Returns:
        delta; 0 for fewer than four points, since three always lie on a tree.

    Raises:
        ValueError: no distance matrix, or no known base point.
    """
    matrix = _checked(distances)
    return _deltas([matrix], _known("base_point", base_point, BASE_POINTS))[0]


def relative_delta(points: Array, base_point: str = "first", metric: str = "euclidean") -> float:
    """``2 delta / diameter`` of one point cloud; see :func:`relative_deltas`."""
    return relative_deltas([points], base_point, metric)[0]


def relative_deltas(
    clouds: Sequence[Array],
    base_point: str = "first",
    metric: str = "euclidean",
    *,
    device: torch.device | str | None = None,
    told: Callable[[int], object] = lambda count: None,
) -> list[float]:
    """``2 delta / diameter`` of many point clouds, computed many at a time.

    Args:
        clouds: each ``(n, d)``, or ``(n, n)`` distances where the metric is ``"precomputed"``;
            n may differ. Tensors or numpy arrays.
        base_point: ``"first"`` or ``"all"``.
        metric: ``"euclidean"``; ``"cosine"``; or ``"precomputed"``. See :func:`distances`.
        device: where to compute; None: where each cloud lies.
        told: called with the number of clouds that were done since the last call.

    Returns:
        A number for each cloud, in the given order, from 0 to 1. 0 for fewer than four points and
        where all points coincide. In float32 it is good to about 1e-6.

    Raises:
        ValueError: no such base point or metric; a cloud that is empty, not 2-D or not finite; a
            zero vector with ``"cosine"``; a matrix that holds no distances.
        TypeError: points that are not floating-point.
    """
    _known("base_point", base_point, BASE_POINTS)
    _known("metric", metric, METRICS)
    found = [0.0] * len(clouds)
    order = sorted(range(len(clouds)), key=lambda i: len(clouds[i]))
    for part in _parts(order, [len(cloud) for cloud in clouds]):
        matrices = []
        for i in part:
            cloud = torch.as_tensor(clouds[i])
            cloud = cloud if device is None else cloud.to(device)
            matrices.append(
                _checked(cloud) if metric == "precomputed" else distances(cloud, metric)
            )
        diameters = [float(matrix.max()) for matrix in matrices]
        deltas = _deltas(matrices, base_point)
        for i, value, diameter in zip(part, deltas, diameters, strict=True):
            found[i] = min(1.0, 2 * value / diameter) if diameter > 0 else 0.0
        told(len(part))
    return found


def distances(points: Array, metric: str = "euclidean") -> Tensor:
    """All distances within a point cloud.

    ``"cosine"`` is the Euclidean distance of the vectors set to length 1, ``sqrt(2 - 2 cos)``: it
    orders pairs as the cosine does, and unlike ``1 - cos`` it is a metric, which delta is about.

    float32 and half precision go through a matrix product in float64, of points less their mean: it
    loses half the digits between near points, which float64 has to spare. float64 points are
    subtracted one from the other.

    Args:
        points: ``(n, d)``, floating-point.
        metric: ``"euclidean"`` or ``"cosine"``.

    Returns:
        ``(n, n)``, float64 for float64 points and else float32; exactly 0 on the diagonal.

    Raises:
        ValueError: points that are not 2-D, none, or not finite; a zero vector with ``"cosine"``.
        TypeError: ``points`` is not floating-point.
    """
    x = torch.as_tensor(points)
    if x.ndim != 2 or not len(x):
        raise ValueError(f"points must be (n, d) with n of at least 1, got {tuple(x.shape)}")
    dtype = floating(x[:1]).dtype
    x = x.double()
    if not x.isfinite().all():
        raise ValueError("points must be finite, got NaN or infinity")
    if metric == "cosine":
        lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        if not lengths.all():
            raise ValueError("the cosine of a zero vector is not defined: leave it out")
        x = x / lengths
    if dtype == torch.float64:
        return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    x = x - x.mean(0)
    products = x @ x.T
    squares = products.diagonal()
    found = (squares[:, None] + squares[None, :] - 2 * products).clamp_min_(0).sqrt_()
    return found.fill_diagonal_(0).to(dtype)


def _known(what: str, given: str, known: tuple[str, ...]) -> str:
    if given not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {given!r}")
    return given


def _checked(distances: Array) -> Tensor:
    """A distance matrix as a tensor to compute with."""
    matrix = torch.as_tensor(distances)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"distances must be (n, n), n at least 1, got {tuple(matrix.shape)}")
    if not (matrix.is_floating_point() or matrix.is_complex()):
        matrix = matrix.double()
    matrix = floating(matrix)
    low, high = float(matrix.min()), float(matrix.max())
    if not (low >= 0 and high < float("inf")):  # NaN fails, too
        raise ValueError("distances must be finite and not negative")
    allowed = 16 * torch.finfo(matrix.dtype).eps * high
    if float((matrix - matrix.T).abs().max()) > allowed:
        raise ValueError("distances must be symmetric: d(a, b) = d(b, a)")
    if float(matrix.diagonal().max()) > allowed:
        raise ValueError(
            "distances must be 0 on the diagonal; torch.cdist's are not unless "
            "compute_mode='donot_use_mm_for_euclid_dist'"
        )
    return matrix


def _parts(order: list[int], sizes: list[int]) -> Iterator[list[int]]:
    """Neighbours in an order by size, as many as a batch holds, of at most 1.1 times the size."""
    part: list[int] = []
    for i in order:
        full = part and (len(part) + 1) * sizes[i] ** 2 > _BATCH
        if full or (part and sizes[i] > 1.1 * sizes[part[0]]):
            yield part
            part = []
        part.append(i)
    if part:
        yield part


def _deltas(matrices: list[Tensor], base_point: str) -> list[float]:
    """delta of each of some distance matrices of one dtype on one device."""
    n = max(map(len, matrices))
    if n < 4:
        return [0.0] * len(matrices)
    stack = torch.stack([_padded(matrix, n) for matrix in matrices], dim=-1)
    best = stack.new_zeros(len(matrices))
    # A quadruple gives the same whichever of its points is the base point, so each is looked at
    # from its first one alone: what comes before the base point is done with.
    for w in range(n - 3 if base_point == "all" else 1):
        rest, from_base = stack[w + 1 :, w + 1 :], stack[w, w + 1 :]
        products = (from_base[:, None] + from_base[None] - rest) / 2
        torch.maximum(best, _excess(products), out=best)
    return best.tolist()


def _padded(matrix: Tensor, n: int) -> Tensor:
    """A matrix with copies of its first point: delta is the same with and without them."""
    if len(matrix) == n:
        return matrix
    index = torch.arange(n, device=matrix.device)
    index[len(matrix) :] = 0
    return matrix[index][:, index]


def _excess(products: Tensor) -> Tensor:
    """``max over a, b of max over c of min(G[a, c], G[c, b]) - G[a, b]``, at least 0.

    Args:
        products: G, ``(m, m, batch)``, symmetric in its first two axes.

    Returns:
        ``(batch,)``.
    """
    m, batch = products.shape[1:]
    best = products.new_zeros(batch)
    rows = max(1, _BLOCK // (m * batch))
    for a in range(m - 1):
        for b in range(a + 1, m, rows):
            through = torch.minimum(products[a], products[b : b + rows])
            over = through.amax(1).sub_(products[a, b : b + rows])
            torch.maximum(best, over.amax(0), out=best)
    return best
