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
first): of a prompt's tokens, each need be there only once.

A value says something only beside that of a control, such as random vectors of the same norms: in
many dimensions all distances are nearly the same, and delta is small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.geometry import maxmin
from bench.geometry.maxmin_batches import Buffers, chunks
from bench.geometry.metric import OF_POINTS, as_matrix, check_metric, distances

if TYPE_CHECKING:
    from bench.geometry.metric import Array

__all__ = ["BASE_POINTS", "METRICS", "delta", "distances", "relative_delta", "relative_deltas"]

BASE_POINTS = ("first", "all")
PRECOMPUTED = "precomputed"
METRICS = (*OF_POINTS, PRECOMPUTED)

_ALIKE = 1.2  # the largest of the spaces that are computed together to the smallest, in points


def delta(distances: Array, base_point: str = "first") -> float:
    """Gromov's delta of one metric space, in the unit of its distances.

    Args:
        distances: ``(n, n)``, a tensor on any device or a numpy array. float64 and whole numbers
            (steps in a graph) are computed in float64, float32 and half precision in float32.
        base_point: ``"first"`` or ``"all"``.

    Returns:
        delta; 0 for fewer than four points, since three always lie on a tree.

    Raises:
        ValueError: no such base point; no distances, as far as
            :func:`~bench.geometry.metric.check_metric` can tell.
    """
    _known("base_point", base_point, BASE_POINTS)
    precision = torch.as_tensor(distances).dtype
    ((found, _),) = _measured([as_matrix(distances)], base_point, precision, Buffers())
    return found


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
    """``2 delta / diameter`` of many point clouds.

    Clouds of like size are computed together. Which ones changes no result, to the last bit.

    Args:
        clouds: each ``(n, d)``, or with the metric ``"precomputed"`` ``(n, n)`` distances; tensors
            or numpy arrays. n and d may differ.
        base_point: ``"first"`` or ``"all"``.
        metric: ``"euclidean"`` or ``"cosine"``, see :func:`~bench.geometry.metric.distances`; or
            ``"precomputed"``.
        device: where to compute; None: where each cloud lies.
        told: called with the number of clouds that were done since the last call.

    Returns:
        A number for each cloud, in their order. 0 for fewer than four points, and where all points
        coincide. In float32 it is right to about 1e-6, in float64 to 1e-15.

    Raises:
        ValueError: no such base point or metric; a cloud that is empty, not 2-D or not finite; a
            zero vector with ``"cosine"``; a matrix that holds no distances.
        TypeError: points that are not floating-point.
    """
    _known("base_point", base_point, BASE_POINTS)
    _known("metric", metric, METRICS)
    given = [torch.as_tensor(cloud) for cloud in clouds]
    found, buffers = [0.0] * len(given), Buffers()
    for part in _parts(given):
        there = [given[i] if device is None else given[i].to(device) for i in part]
        if metric == PRECOMPUTED:
            matrices, precision = [as_matrix(matrix) for matrix in there], there[0].dtype
        else:
            matrices, precision = [distances(points, metric) for points in there], None
        measured = _measured(matrices, base_point, precision, buffers)
        for i, (value, diameter) in zip(part, measured, strict=True):
            found[i] = 2 * value / diameter if diameter > 0 else 0.0
        told(len(part))
    return found


def _known(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {given!r}")


def _parts(clouds: list[Tensor]) -> Iterator[list[int]]:
    """Places of clouds that are computed together: of one kind and of like size."""
    kinds: dict[tuple[torch.dtype, torch.device], int] = {}
    keys = [(kinds.setdefault((c.dtype, c.device), len(kinds)), c.shape[0]) for c in clouds]
    part: list[int] = []
    most = 0
    for i in sorted(range(len(clouds)), key=keys.__getitem__):
        kind, size = keys[i]
        first_kind, least = keys[part[0]] if part else (kind, size)
        if part and (len(part) >= most or kind != first_kind or size > _ALIKE * least):
            yield part
            part = []
        part.append(i)
        most = maxmin.batch_size(size, clouds[i].device)
    if part:
        yield part


def _measured(
    matrices: list[Tensor],
    base_point: str,
    precision: torch.dtype | None,
    buffers: Buffers,
) -> list[tuple[float, float]]:
    """delta and diameter of distance matrices; given ones are checked, in their precision."""
    sizes = [matrix.shape[0] for matrix in matrices]
    n = max(sizes)
    stack = buffers.take("stack", (len(matrices), n, n), matrices[0])
    torch.stack([_padded(matrix, n) for matrix in matrices], out=stack)
    diameters = stack.flatten(1).amax(1)
    if precision is not None:
        for some in chunks(stack):
            part = stack[some]
            room = buffers.take("room", tuple(part.shape), part)
            check_metric(part, diameters[some], precision, room)
    deltas = maxmin.deltas(stack, diameters, sizes, base_point == "all", buffers)
    return list(zip(deltas.tolist(), diameters.tolist(), strict=True))


def _padded(matrix: Tensor, n: int) -> Tensor:
    """A matrix with copies of its first point, up to n points."""
    size = matrix.shape[0]
    if size == n:
        return matrix
    index = torch.zeros(n, dtype=torch.long, device=matrix.device)
    index[:size] = torch.arange(size)
    return matrix[index][:, index]
