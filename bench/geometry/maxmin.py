"""delta of distance matrices: the max-min matrix product, exact and in little memory.

Seen from a base point w, a pair of points has the Gromov product
``G[a, b] = (d(a, w) + d(b, w) - d(a, b)) / 2``, and what is wanted is the largest of all

    min(G[a, c], G[c, b]) - G[a, b].

Four points give the same whichever of them is the base point. So over all base points, each four
are looked at from the first of them alone: with a base point that is done with, the space has a
point less. That leaves a quarter of the work, and the symmetry of a and b half of that.

Small spaces are computed many at a time (:mod:`.maxmin_batches`), large ones alone and by the pairs
that can raise the result. Both give the same numbers, to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.geometry.maxmin_batches import VECTOR, Buffers, in_batches, products_into, room

SMALL = 128  # points of the largest space that is computed beside others
_FEW = 8  # spaces that are faster alone than as a batch with copies
_ROW = 64  # torch reduces rows of other multiples several times slower


def batch_size(points: int, device: torch.device) -> int:
    """How many spaces of so many points are computed at a time."""
    return 1 if points > SMALL else max(VECTOR, room(device) // max(1, points) ** 2)


def deltas(
    distances: Tensor,
    diameters: Tensor,
    sizes: list[int],
    every_base_point: bool,
    buffers: Buffers | None = None,
) -> Tensor:
    """delta of each of some metric spaces.

    Args:
        distances: ``(batch, n, n)``, float32 or float64, symmetric but for rounding. The triangle
            inequality holds in each.
        diameters: ``(batch,)``, the largest distance of each.
        sizes: how many points each has, n at most; what is behind them is not read.
        every_base_point: whether every point is taken as the base point, or the first alone.
        buffers: from call to call.

    Returns:
        ``(batch,)``, at least 0.
    """
    count, n = distances.shape[:2]
    if n < 4:
        return distances.new_zeros(count)
    if n > SMALL or count <= _FEW:
        spaces = zip(distances, sizes, strict=True)
        each = [alone(space[:size, :size], every_base_point) for space, size in spaces]
        return torch.tensor(each, dtype=distances.dtype, device=distances.device)
    if count < VECTOR:  # copies are cheaper than a short vector
        copies = [i % count for i in range(VECTOR)]
        distances, diameters = distances[copies], diameters[copies]
        sizes = [sizes[i] for i in copies]
    found = in_batches(distances, diameters, sizes, every_base_point, buffers or Buffers())
    return found[:count]


def alone(distances: Tensor, every_base_point: bool) -> float:
    """delta of one space, ``(n, n)``, by the pairs that can raise it.

    With `best` known to be reached, a pair a, b needs a look only where

        min(r[a], r[b]) - G[a, b] > best,   r[a] = the largest G[a, c] of the c with (a|w)_c > best

    since min(G[a, c], G[c, b]) is at most min(r[a], r[b]). What the other c can give is at most
    G[c, b] - G[a, b], which by the triangle inequality is at most (a|w)_c = d(c, w) - G[a, c]:
    those c are near to a, or copies of it. A base point without such a pair is passed over. Of
    prompts' embeddings a few pairs in a hundred are left; of a tree or a sample of hyperbolic
    space, nearly all.
    """
    n = len(distances)
    if n < 4:
        return 0.0
    best = -1.0
    for w in range(n - 3 if every_base_point else 1):
        radii, rest = distances[w, w + 1 :], distances[w + 1 :, w + 1 :]
        m = len(radii)
        products = distances.new_zeros(m, -(-m // _ROW) * _ROW)
        products_into(products[:, :m], radii[:, None], radii, rest)
        if best < 0:
            best = _row(products, _bounds(products, radii, 0.0).amax(1).argmax())
        # The margin keeps what rounding alone has put below best.
        margin = 8 * torch.finfo(products.dtype).eps * float(radii.max())
        # Half way first: what the most promising pairs give spares most of the others.
        for share in (0.5, 0.0):
            bounds = _bounds(products, radii, best - margin)
            most = float(bounds.max())
            if most <= best:
                break
            best = _raised(products, bounds > best + share * (most - best), best)
    return best


def _bounds(products: Tensor, radii: Tensor, best: float) -> Tensor:
    """What each pair a < b can give at most where that is more than best, ``(m, m)``."""
    own = products[:, : len(radii)]
    # A large multiple of what (a|w)_c is above best takes the place of G[a, c] where it is less:
    # torch's comparisons and choices are ten times slower than its minimum.
    scale = 2 / torch.finfo(products.dtype).eps
    room = ((radii - best) * scale).sub(own, alpha=scale)
    largest = torch.minimum(room, own, out=room).amax(1)
    return torch.minimum(largest[:, None], largest).sub_(own).triu_(1)


def _row(products: Tensor, a: Tensor) -> float:
    """The most that pairs with one point give, at least 0."""
    row = products[a]
    over = torch.minimum(row, products).amax(1).sub_(row[: len(products)])
    return max(0.0, float(over.max()))


def _raised(products: Tensor, chosen: Tensor, best: float) -> float:
    """The larger of best and what some pairs give; chosen is ``(m, m)``, true for those."""
    m, width = products.shape
    most = room(products.device)
    part = max(1, most // (2 * width * products.element_size()))
    one, other = products.new_empty(2, part, width)
    rows = max(1, 4 * most // width)
    for row in range(0, m, rows):
        first, second = chosen[row : row + rows].nonzero(as_tuple=True)
        if not len(first):
            continue
        first += row
        through = products.new_empty(len(first))
        for start in range(0, len(first), part):
            pairs = slice(start, min(start + part, len(first)))
            count = pairs.stop - start
            a = torch.index_select(products, 0, first[pairs], out=one[:count])
            b = torch.index_select(products, 0, second[pairs], out=other[:count])
            torch.amax(torch.minimum(a, b, out=a), 1, out=through[pairs])
        best = max(best, float(through.sub_(products[first, second]).max()))
    return best
