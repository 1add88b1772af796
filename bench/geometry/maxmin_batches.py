"""The max-min products of many small metric spaces at a time.

The batch is the last axis, along the vector registers. Gromov products are quantised to bytes,
which are compared four times as fast as float32. Quantising is monotone, so it commutes with
minimum and maximum, and a difference of two quantised products is right to within one step. The few
pairs that may be the largest are then computed from the distances.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

VECTOR = 128  # torch reduces columns of fewer bytes ten times slower
_STEPS = 255  # of a quantised product, up to the diameter
_ERROR = 1.01  # of a quantised difference, in steps; 0.01 covers rounding in float32


class Buffers:
    """Reused memory for temporaries: allocating pages costs as much as the computation."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor of a shape, with the dtype and device of another.

        It shares its memory with earlier tensors of the same name.
        """
        held, count = self._held.get(name), math.prod(shape)
        kind = (like.dtype, like.device)
        if held is None or len(held) < count or (held.dtype, held.device) != kind:
            held = self._held[name] = like.new_empty(count)
        return held[:count].view(shape)


def temporary_bytes(device: torch.device) -> int:
    """Size limit of a temporary. On a CPU it and its operands should fit into a core's cache."""
    return 1 << 20 if device.type == "cpu" else 1 << 28


def chunks(matrices: Tensor) -> Iterator[slice]:
    """Slices of a batch of matrices, each at most half as large as a temporary may be."""
    limit = temporary_bytes(matrices.device) // 2
    count, size = len(matrices), max(1, limit // (matrices[0].numel() * matrices.element_size()))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def gromov_products(one: Tensor, other: Tensor, between: Tensor, out: Tensor) -> Tensor:
    """Gromov products of two points, from their distances to w and the distance between them.

    Clamped at 0, below which only rounding can put them. ``one`` and ``other`` broadcast to the
    shape of ``out`` and ``between``.
    """
    return torch.add(one, other, out=out).sub_(between).div_(2).clamp_min_(0)


def batched_deltas(
    distances: Tensor,
    diameters: Tensor,
    sizes: list[int],
    every_base_point: bool,
    buffers: Buffers,
) -> Tensor:
    """delta of several metric spaces; see :func:`bench.geometry.maxmin.deltas`."""
    count, n = distances.shape[:2]
    real = None
    if min(sizes) < n:
        points = torch.arange(n, device=distances.device)
        real = points < torch.tensor(sizes, device=distances.device)[:, None]
    scale = _STEPS / torch.where(diameters > 0, diameters, 1.0)
    best = distances.new_zeros(count)
    for w in range(n - 3 if every_base_point else 1):
        quantised = _quantised_products(distances, w, scale, buffers)
        if real is not None:
            quantised.mul_(real.T[w + 1 :, None]).mul_(real.T[w + 1 :])
        excess = _excess(quantised, buffers)
        by_row = excess.amax(1)
        # Only pairs among the largest here and above the known maximum are computed exactly.
        limit = torch.maximum(by_row.amax(0) - 2 * _ERROR, best * scale - _ERROR)
        for item, a, b in _pairs_above(excess, by_row, limit):
            values = _exact(distances, real, w, item, a + w + 1, b + w + 1)
            best.scatter_reduce_(0, item, values, "amax")
    return best


def _quantised_products(distances: Tensor, w: int, scale: Tensor, buffers: Buffers) -> Tensor:
    """The Gromov products of the points behind w in whole steps, ``(m, m, batch)``."""
    count, m = len(distances), distances.shape[1] - w - 1
    quantised = buffers.take("quantised", (m, m, count), distances.new_empty(0, dtype=torch.uint8))
    for chunk in chunks(distances):
        radii, between = distances[chunk, w, w + 1 :], distances[chunk, w + 1 :, w + 1 :]
        products = buffers.take("products", tuple(between.shape), distances)
        # twice the products
        torch.add(radii[:, :, None], radii[:, None], out=products).sub_(between).clamp_min_(0)
        quantised[:, :, chunk] = products.mul_(scale[chunk, None, None] / 2).permute(1, 2, 0)
    return quantised


def _excess(quantised: Tensor, buffers: Buffers) -> Tensor:
    """The value of each pair a < b in steps, ``(m, m, batch)``, bytes of at least 0.

    Other entries hold the value of the pair b, a, or 0.
    """
    m, _, count = quantised.shape
    reached = buffers.take("reached", quantised.shape, quantised).zero_()
    limit, a = temporary_bytes(quantised.device), 0
    while a < m - 1:
        # As many rows as fit, with all points behind the first of them; or part of one row.
        behind = m - a - 1
        rows = min(m - a, max(1, limit // (behind * m * count)))
        part = min(behind, max(1, limit // (m * count)))
        for b in range(a + 1, m, part):
            first, second = slice(a, a + rows), slice(b, min(b + part, m))
            least = buffers.take("least", (rows, second.stop - b, m, count), quantised)
            torch.minimum(quantised[first, None], quantised[second], out=least)
            reached[first, second] = least.amax(2)
        a += rows
    reached.diagonal().zero_()
    return torch.maximum(reached, quantised, out=reached).sub_(quantised)


def _pairs_above(
    excess: Tensor, by_row: Tensor, limit: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Item, a and b of the pairs a < b above their item's limit, in chunks."""
    m = len(excess)
    size = max(1, temporary_bytes(excess.device) // (8 * m))
    for part in (by_row > limit).nonzero().split(size):
        a, item = part.T
        selected = excess[a, :, item] > limit[item, None]
        selected &= torch.arange(m, device=a.device) > a[:, None]
        row, b = selected.nonzero(as_tuple=True)
        for start in range(0, len(row), size):
            rows = row[start : start + size]
            yield item[rows], a[rows], b[start : start + size]


def _exact(
    distances: Tensor, real: Tensor | None, w: int, item: Tensor, a: Tensor, b: Tensor
) -> Tensor:
    """The values of pairs, ``(pairs,)``, from the distances."""
    radii = distances[item, w]

    def products_with(point: Tensor) -> Tensor:
        own, between = radii.gather(1, point[:, None]), distances[item, point]
        products = gromov_products(own, radii, between, out=torch.empty_like(radii))
        return products if real is None else products.mul_(real[item]).mul_(real[item, point, None])

    with_a, with_b = products_with(a), products_with(b)
    reached = torch.minimum(with_a, with_b)[:, w + 1 :].amax(1)
    return reached.sub_(with_a.gather(1, b[:, None])[:, 0])
