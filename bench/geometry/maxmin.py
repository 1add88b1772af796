"""delta of distance matrices: the max-min matrix product, exact and in little memory.

Four points give the same value whichever of them is the base point, so over all base points each
quadruple is evaluated at its first point only. Batched and pruned results are bitwise equal.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

_LARGEST_BATCHED = 128  # points; larger spaces are computed one by one
_FEW = 8  # spaces that are faster one by one than as a padded batch
_ROW = 64  # torch reduces rows of other multiples several times slower


def temporary_values(device: torch.device) -> int:
    """Size limit of a temporary. On a CPU it and its operands should fit into a core's cache."""
    return 1 << 18 if device.type == "cpu" else 1 << 26


def batch_size(points: int, device: torch.device) -> int:
    """How many spaces of this many points are computed at a time."""
    if points > _LARGEST_BATCHED:
        return 1
    return max(_FEW + 1, temporary_values(device) // max(1, points) ** 2)


def deltas(matrices: list[Tensor], every_base_point: bool) -> list[float]:
    """delta of metric spaces, at least 0.

    Args:
        matrices: ``(n, n)``, float32 or float64, all of one dtype and device, symmetric up to
            rounding. The triangle inequality must hold.
        every_base_point: use every point as the base point, not only the first.
    """
    n = max(map(len, matrices))
    if n > _LARGEST_BATCHED or len(matrices) <= _FEW:
        return [pruned_delta(matrix, every_base_point) for matrix in matrices]
    return batched_deltas(matrices, every_base_point)


def batched_deltas(matrices: list[Tensor], every_base_point: bool) -> list[float]:
    """delta of many small spaces; the batch is the last axis, along the vector registers."""
    n = max(map(len, matrices))
    padded = [pad(matrix, (0, n - len(matrix)) * 2) for matrix in matrices]
    distances = torch.stack(padded).permute(1, 2, 0).contiguous()
    sizes = torch.tensor([len(matrix) for matrix in matrices], device=distances.device)
    real = torch.arange(n, device=distances.device)[:, None] < sizes
    best = distances.new_zeros(len(matrices))
    for w in range(n - 3 if every_base_point else 1):
        products = _gromov_products(distances[w, w + 1 :], distances[w + 1 :, w + 1 :])
        products.mul_(real[w + 1 :, None]).mul_(real[w + 1 :])
        for a in range(len(products) - 1):
            reached = torch.minimum(products[a], products[a + 1 :]).amax(1)
            best = torch.maximum(best, reached.sub_(products[a, a + 1 :]).amax(0))
    return best.tolist()


def _gromov_products(radii: Tensor, between: Tensor) -> Tensor:
    return torch.add(radii[:, None], radii).sub_(between).div_(2).clamp_min_(0)


def pruned_delta(distances: Tensor, every_base_point: bool) -> float:
    """delta of one space, ``(n, n)``, from the pairs that can raise it.

    With a lower bound `best`, a pair a, b is evaluated only if

        min(r[a], r[b]) - G[a, b] > best,   r[a] = max of G[a, c] over the c with (a|w)_c > best

    because min(G[a, c], G[c, b]) is at most min(r[a], r[b]). The other c, which are near a, give at
    most G[c, b] - G[a, b], and by the triangle inequality at most (a|w)_c = d(c, w) - G[a, c]. A
    base point without such a pair is skipped. A few percent of the pairs remain for embeddings of
    prompts, nearly all for a tree or a sample of hyperbolic space.
    """
    n = len(distances)
    if n < 4:
        return 0.0
    best = -1.0
    for w in range(n - 3 if every_base_point else 1):
        radii, rest = distances[w, w + 1 :], distances[w + 1 :, w + 1 :]
        m = len(radii)
        products = pad(_gromov_products(radii, rest), (0, -m % _ROW))
        if best < 0:
            best = _row_maximum(products, _upper_bounds(products, radii, 0.0).amax(1).argmax())
        # The margin keeps pairs that only rounding has put below best.
        margin = 8 * torch.finfo(products.dtype).eps * float(radii.max())
        # The most promising pairs first: their result prunes most of the others.
        for fraction in (0.5, 0.0):
            bounds = _upper_bounds(products, radii, best - margin)
            highest = float(bounds.max())
            if highest <= best:
                break
            best = _maximum(products, bounds > best + fraction * (highest - best), best)
    return best


def _upper_bounds(products: Tensor, radii: Tensor, best: float) -> Tensor:
    """Upper bounds of the pairs a < b, valid where they exceed best, ``(m, m)``."""
    own = products[:, : len(radii)]
    # The minimum with a large multiple of (a|w)_c - best drops the c with (a|w)_c <= best. In torch
    # a comparison would be ten times slower.
    scale = 2 / torch.finfo(products.dtype).eps
    bound = ((radii - best) * scale).sub(own, alpha=scale)
    largest = torch.minimum(bound, own, out=bound).amax(1)
    return torch.minimum(largest[:, None], largest).sub_(own).triu_(1)


def _row_maximum(products: Tensor, a: Tensor) -> float:
    row = products[a]
    excess = torch.minimum(row, products).amax(1).sub_(row[: len(products)])
    return max(0.0, float(excess.max()))


def _maximum(products: Tensor, selected: Tensor, best: float) -> float:
    """The maximum of best and the values of the selected pairs, a mask ``(m, m)``."""
    m, width = products.shape
    limit = 4 * temporary_values(products.device)
    part = max(1, limit // (2 * width * products.element_size()))
    one, other = products.new_empty(2, part, width)
    rows = max(1, 4 * limit // width)
    for row in range(0, m, rows):
        first, second = selected[row : row + rows].nonzero(as_tuple=True)
        if not len(first):
            continue
        first += row
        values = products.new_empty(len(first))
        for start in range(0, len(first), part):
            pairs = slice(start, min(start + part, len(first)))
            count = pairs.stop - start
            a = torch.index_select(products, 0, first[pairs], out=one[:count])
            b = torch.index_select(products, 0, second[pairs], out=other[:count])
            torch.amax(torch.minimum(a, b, out=a), 1, out=values[pairs])
        best = max(best, float(values.sub_(products[first, second]).max()))
    return best
