"""delta of distance matrices: the max-min matrix product, exact and in little memory.

Seen from a base point w, a pair of points has the Gromov product
``G[a, b] = (d(a, w) + d(b, w) - d(a, b)) / 2``, and what is wanted is the largest of all

    min(G[a, c], G[c, b]) - G[a, b].

Four points give the same whichever of them is the base point. So over all base points, each four
are looked at from the first of them alone: with a base point that is done with, the space has a
point less. That leaves a quarter of the work, and the symmetry of a and b half of that.

Small spaces are computed many at a time (:func:`in_batches`), large ones alone and by the pairs
that can raise the result (:func:`alone`). Both give the same numbers, to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALL = 128  # points of the largest space that is computed beside others
# Numbers in a temporary. On a processor the temporary and its operands must stay in a core's
# cache, since each is read once only: from memory that takes three times as long.
_CACHED = 1 << 17
_LARGE = 1 << 24
_PLACES = 1 << 22  # of pairs, held at a time
_VECTOR = 64  # torch reduces rows of other multiples several times slower
_BATCH = 32  # and columns of fewer


def batch_size(points: int, device: torch.device) -> int:
    """How many spaces of so many points are computed at a time."""
    if points > SMALL:
        return 1
    return max(_BATCH, _block(device) // points**2)


def deltas(distances: Tensor, sizes: Tensor, every_base_point: bool) -> Tensor:
    """delta of each of some metric spaces.

    Args:
        distances: ``(batch, n, n)``, float32 or float64, symmetric to the last bit. The triangle
            inequality holds in each.
        sizes: ``(batch,)``, how many points each has, n at most; what is behind them is not read.
        every_base_point: whether every point is taken as the base point, or the first alone.

    Returns:
        ``(batch,)``, at least 0.
    """
    count, n = distances.shape[:2]
    if n < 4:
        return distances.new_zeros(count)
    if n > SMALL or count < _BATCH // 4:
        spaces = zip(distances, sizes.tolist(), strict=True)
        found = [alone(space[:size, :size], every_base_point) for space, size in spaces]
        return torch.tensor(found, dtype=distances.dtype, device=distances.device)
    if count < _BATCH:  # copies are cheaper than a short vector
        copies = torch.arange(_BATCH, device=distances.device) % count
        distances, sizes = distances[copies], sizes[copies]
    return in_batches(distances, sizes, every_base_point)[:count]


def in_batches(distances: Tensor, sizes: Tensor, every_base_point: bool) -> Tensor:
    """See :func:`deltas`. All of them step by step together, the batch in the vector registers."""
    count, n = distances.shape[:2]
    spaces = distances.flatten(1).T.contiguous().view(n, n, count)
    real = (torch.arange(n, device=sizes.device)[:, None] < sizes).to(distances.dtype)
    block = _block(distances.device)
    best = distances.new_zeros(count)
    for w in range(n - 3 if every_base_point else 1):
        products = _products(spaces[w, w + 1 :], spaces[w + 1 :, w + 1 :])
        products.mul_(real[w + 1 :, None]).mul_(real[w + 1 :])
        reached = torch.zeros_like(products)
        ordered, through, m, a = _ordered(products), _ordered(reached), len(products), 0
        while a < m - 1:
            # As many rows as fit, with all points behind the first of them; or one with a part.
            behind = m - a - 1
            rows = max(1, block // (behind * m * count))
            part = min(behind, max(1, block // (m * count)))
            for b in range(a + 1, m, part):
                these, those = slice(a, a + rows), slice(b, b + part)
                least = torch.minimum(ordered[these, None], ordered[those])
                through[these, those] = least.amax(2)
            a += rows
        reached.diagonal().zero_()  # a point is no pair with itself
        torch.maximum(best, reached.sub_(products).flatten(0, 1).amax(0), out=best)
    return best


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
        products = distances.new_zeros(m, -(-m // _VECTOR) * _VECTOR)
        products[:, :m] = _products(radii, rest)
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
    block = max(1, _block(products.device) // width)
    one, other = products.new_empty(2, block, width)
    rows = max(1, _PLACES // width)
    for row in range(0, m, rows):
        first, second = chosen[row : row + rows].nonzero(as_tuple=True)
        if not len(first):
            continue
        first += row
        through = products.new_empty(len(first))
        for start in range(0, len(first), block):
            pairs = slice(start, min(start + block, len(first)))
            count = pairs.stop - start
            a = torch.index_select(products, 0, first[pairs], out=one[:count])
            b = torch.index_select(products, 0, second[pairs], out=other[:count])
            torch.amax(torch.minimum(a, b, out=a), 1, out=through[pairs])
        best = max(best, float(through.sub_(products[first, second]).max()))
    return best


def _products(radii: Tensor, rest: Tensor) -> Tensor:
    """Gromov products of points, ``(m, m, ...)``, from their distances to w, ``(m, ...)``.

    In a metric space none is negative: clamped, rounding can't make one so.
    """
    return (radii[:, None] + radii).sub_(rest).div_(2).clamp_min_(0)


def _ordered(x: Tensor) -> Tensor:
    """The same bits as whole numbers, which for numbers of at least 0 have the same order.

    Their minimum and maximum need no thought of NaN, which in float32 is a quarter of the time.
    """
    return x.view(torch.int32) if x.dtype == torch.float32 else x


def _block(device: torch.device) -> int:
    return _CACHED if device.type == "cpu" else _LARGE
