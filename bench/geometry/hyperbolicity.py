"""Gromov's delta-hyperbolicity of finite metric spaces: the distance from a tree metric.

With the Gromov product ``(a|b)_w = (d(a,w) + d(b,w) - d(a,b)) / 2``,

    delta_w = max over a, b of [ max over c of min((a|c)_w, (c|b)_w) ] - (a|b)_w

``base_point="all"`` is the definition, the largest delta_w over all base points w. ``"first"`` is
delta_w at the first point, as in the HypLoRA paper (arXiv 2410.04010, Table 2), which is at least
half of that. The relative delta ``2 delta / diameter`` is between 0 (a tree) and 1. Compare it with
a control, such as random vectors of the same norms: in many dimensions all distances are nearly
equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.geometry import maxmin
from bench.geometry.metric import POINT_METRICS, as_matrix, distances

if TYPE_CHECKING:
    from bench.geometry.metric import Array

__all__ = ["BASE_POINTS", "METRICS", "delta", "distances", "relative_delta", "relative_deltas"]

BASE_POINTS = ("first", "all")
PRECOMPUTED = "precomputed"
METRICS = (*POINT_METRICS, PRECOMPUTED)

_SIZE_RATIO = 1.2  # of the largest to the smallest space in a batch


def delta(distances: Array, base_point: str = "first") -> float:
    """Gromov's delta of one metric space, in the unit of its distances; 0 below four points.

    Args:
        distances: ``(n, n)``, a tensor on any device or a numpy array. float64 and integers (steps
            in a graph) are computed in float64, float32 and half precision in float32.
        base_point: ``"first"`` or ``"all"``.

    Raises:
        ValueError: unknown base point, or a matrix that is not a distance matrix.
    """
    _require("base_point", base_point, BASE_POINTS)
    return maxmin.deltas([as_matrix(distances)], base_point == "all")[0]


def relative_delta(points: Array, base_point: str = "first", metric: str = "euclidean") -> float:
    """``2 delta / diameter`` of one point cloud; see :func:`relative_deltas`."""
    return relative_deltas([points], base_point, metric)[0]


def relative_deltas(
    clouds: Sequence[Array],
    base_point: str = "first",
    metric: str = "euclidean",
    *,
    device: torch.device | str | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> list[float]:
    """``2 delta / diameter`` of many point clouds.

    Clouds of similar size are computed in batches. Batching does not change any bit of a result.

    Args:
        clouds: each ``(n, d)``, or with the metric ``"precomputed"`` ``(n, n)`` distances; tensors
            or numpy arrays. n and d may differ.
        base_point: ``"first"`` or ``"all"``.
        metric: ``"euclidean"`` or ``"cosine"``, see :func:`~bench.geometry.metric.distances`; or
            ``"precomputed"``.
        device: where to compute; None: the device of each cloud.
        progress: progress callback, called with the number of clouds finished since the last call.

    Returns:
        One number per cloud, in order; 0 for fewer than four points and if all points coincide.
        Accurate to about 1e-6 in float32, 1e-15 in float64.

    Raises:
        ValueError: unknown base point or metric; a cloud that is empty, not 2-D or not finite; a
            zero vector with ``"cosine"``; a matrix that is not a distance matrix.
        TypeError: points that are not floating-point.
    """
    _require("base_point", base_point, BASE_POINTS)
    _require("metric", metric, METRICS)
    given = [torch.as_tensor(cloud) for cloud in clouds]
    measured = as_matrix if metric == PRECOMPUTED else partial(distances, metric=metric)
    results = [0.0] * len(given)
    for batch in _batches(given):
        matrices = [measured(given[i] if device is None else given[i].to(device)) for i in batch]
        found = maxmin.deltas(matrices, base_point == "all")
        for i, matrix, value in zip(batch, matrices, found, strict=True):
            diameter = matrix.max().item()
            results[i] = 2 * value / diameter if diameter > 0 else 0.0
        progress(len(batch))
    return results


def _require(name: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")


def _batches(clouds: list[Tensor]) -> Iterator[list[int]]:
    """Indices of clouds of one dtype, one device and similar sizes, the smallest first."""
    keys = [(f"{cloud.dtype} {cloud.device}", len(cloud)) for cloud in clouds]
    batch: list[int] = []
    limit = 0
    for i in sorted(range(len(clouds)), key=keys.__getitem__):
        kind, size = keys[i]
        first, smallest = keys[batch[0]] if batch else keys[i]
        if batch and (len(batch) >= limit or kind != first or size > _SIZE_RATIO * smallest):
            yield batch
            batch = []
        batch.append(i)
        limit = maxmin.batch_size(size, clouds[i].device)
    if batch:
        yield batch
