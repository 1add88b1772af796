"""The max-min products of many small metric spaces at a time.

They go through the steps together, with the batch along the vector registers. The products are cut
to a byte first, since bytes are compared at four times the pace of float32. Cutting keeps the order
of numbers, so the cut result is the result cut, and a difference of two of them tells the real one
to within a step. The few pairs that may then be the largest are computed from the distances.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

VECTOR = 128  # torch reduces columns of fewer bytes ten times slower
_STEPS = 255  # of a cut product, up to the diameter
# By how much, in steps, a cut difference may be off; the hundredth is for float32's rounding.
_OFF = 1.01


class Buffers:
    """Memory for temporaries, used again and again: fresh pages cost as much as work in them."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape, of the dtype and device of another, with anything in it.

        It shares its memory with what was taken by the same name before.
        """
        held, count = self._held.get(name), math.prod(shape)
        kind = (like.dtype, like.device)
        if held is None or len(held) < count or (held.dtype, held.device) != kind:
            held = self._held[name] = like.new_empty(count)
        return held[:count].view(shape)


def room(device: torch.device) -> int:
    """How many bytes a temporary may have.

    On a processor the temporary and its operands must stay in a core's cache, since each is read
    once only: from memory that takes three times as long.
    """
    return 1 << 20 if device.type == "cpu" else 1 << 28


def chunks(matrices: Tensor) -> Iterator[slice]:
    """Places of so many matrices as a temporary may hold half of."""
    count = len(matrices)
    some = max(1, room(matrices.device) // 2 // (matrices[0].numel() * matrices.element_size()))
    return (slice(start, min(start + some, count)) for start in range(0, count, some))


def products_into(out: Tensor, one: Tensor, other: Tensor, between: Tensor) -> Tensor:
    """Gromov products of two points, from their distances to w and the distance between them.

    In a metric space none is negative: clamped, rounding can't make one so. ``one`` and ``other``
    are broadcast to the shape of ``out`` and ``between``.
    """
    return torch.add(one, other, out=out).sub_(between).div_(2).clamp_min_(0)


def in_batches(
    distances: Tensor,
    diameters: Tensor,
    sizes: list[int],
    every_base_point: bool,
    buffers: Buffers,
) -> Tensor:
    """delta of each of some metric spaces; see :func:`bench.geometry.maxmin.deltas`."""
    count, n = distances.shape[:2]
    real = None
    if min(sizes) < n:
        points = torch.arange(n, device=distances.device)
        real = points < torch.tensor(sizes, device=distances.device)[:, None]
    scale = _STEPS / torch.where(diameters > 0, diameters, 1.0)
    best = distances.new_zeros(count)
    for w in range(n - 3 if every_base_point else 1):
        cut = _cut_products(distances, w, scale, buffers)
        if real is not None:
            cut.mul_(real.T[w + 1 :, None]).mul_(real.T[w + 1 :])
        over = _excess(cut, buffers)
        by_row = over.amax(1)
        # What is not among the largest here, or not above what is known, is passed over.
        limit = torch.maximum(by_row.amax(0) - 2 * _OFF, best * scale - _OFF)
        for item, a, b in _above(over, by_row, limit):
            found = _exact(distances, real, w, item, a + w + 1, b + w + 1)
            best.scatter_reduce_(0, item, found, "amax")
    return best


def _cut_products(distances: Tensor, w: int, scale: Tensor, buffers: Buffers) -> Tensor:
    """The products of the points behind w in whole steps, ``(m, m, batch)``."""
    count, m = len(distances), distances.shape[1] - w - 1
    cut = buffers.take("cut", (m, m, count), distances.new_empty(0, dtype=torch.uint8))
    for some in chunks(distances):
        radii, between = distances[some, w, w + 1 :], distances[some, w + 1 :, w + 1 :]
        products = buffers.take("products", tuple(between.shape), distances)
        # Twice the products; rounding is of no account beside a step.
        torch.add(radii[:, :, None], radii[:, None], out=products).sub_(between).clamp_min_(0)
        cut[:, :, some] = products.mul_(scale[some, None, None] / 2).permute(1, 2, 0)
    return cut


def _excess(cut: Tensor, buffers: Buffers) -> Tensor:
    """How many steps each pair a < b gives, ``(m, m, batch)``, bytes of at least 0.

    Other entries hold the same of b and a, or 0.
    """
    m, _, count = cut.shape
    reached = buffers.take("reached", cut.shape, cut).zero_()
    most, a = room(cut.device), 0
    while a < m - 1:
        # As many rows as fit, with all points behind the first of them; or one with a part.
        behind = m - a - 1
        rows = min(m - a, max(1, most // (behind * m * count)))
        part = min(behind, max(1, most // (m * count)))
        for b in range(a + 1, m, part):
            these, those = slice(a, a + rows), slice(b, min(b + part, m))
            least = buffers.take("least", (rows, those.stop - b, m, count), cut)
            torch.minimum(cut[these, None], cut[those], out=least)
            reached[these, those] = least.amax(2)
        a += rows
    reached.diagonal().zero_()  # a point is no pair with itself
    return torch.maximum(reached, cut, out=reached).sub_(cut)


def _above(over: Tensor, by_row: Tensor, limit: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Item, a and b of the pairs a < b above their item's limit, some at a time."""
    m = len(over)
    most = max(1, room(over.device) // (8 * m))
    for part in (by_row > limit).nonzero().split(most):
        a, item = part.T
        chosen = over[a, :, item] > limit[item, None]
        chosen &= torch.arange(m, device=a.device) > a[:, None]
        row, b = chosen.nonzero(as_tuple=True)
        for some in range(0, len(row), most):
            those = row[some : some + most]
            yield item[those], a[those], b[some : some + most]


def _exact(
    distances: Tensor, real: Tensor | None, w: int, item: Tensor, a: Tensor, b: Tensor
) -> Tensor:
    """What pairs give, ``(pairs,)``, from their distances."""
    radii = distances[item, w]

    def products_with(point: Tensor) -> Tensor:
        own, between = radii.gather(1, point[:, None]), distances[item, point]
        found = products_into(torch.empty_like(radii), own, radii, between)
        return found if real is None else found.mul_(real[item]).mul_(real[item, point, None])

    with_a, with_b = products_with(a), products_with(b)
    through = torch.minimum(with_a, with_b)[:, w + 1 :].amax(1)
    return through.sub_(with_a.gather(1, b[:, None])[:, 0])
