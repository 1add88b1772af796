"""A picture of the hierarchy: words in the Poincare disk.

What of a place is data, and what is layout:

- **Radius**: data. A word's hyperbolic distance from the origin grows linearly with the norm of
  its embedding: ``scale * (norm - centre)``. Both numbers are chosen so that the disk is used,
  since the norms of a real model differ by a factor of two or so, and come with the picture.
- **Angle**: layout. Words are joined from relative to relative (average linkage over cosine
  distances), and the leaves of that tree are spread around the circle in its order, with the wider
  gap the less related two neighbours are. Which of two branches comes first, and where the circle
  begins, means nothing. A circle has one dimension: ``kept`` says how many relatives it keeps.
- **Edges**: from each word to its parent, the most related one of the words with a smaller norm.
  Any set of vectors has such a tree; that it can be drawn is no evidence of a hierarchy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

K = 1.0  # the disk is the stereographic chart of the plane with curvature -1/K
NEAREST, FARTHEST = 0.5, 3.2  # distances from the origin of the smallest norm and of a large one
LARGE = 0.98  # that large one, a quantile: a few outliers go on towards the boundary
ALIKE = 0.01  # spread of the norms, as a share, under which they are taken as one norm
EVEN = 0.5  # share of the circle that is spread evenly, whatever the relation of two neighbours
# Beyond it scipy's best order of the leaves, which takes n^3 steps, costs more than seconds.
MOST_ORDERED = 1000
PATH = 17  # points of an edge
AMONG = 10  # nearest words in the disk, of which relatives are sought

_DIGITS = 5  # of a coordinate in a disk of radius 1: a hundredth of a pixel


def layout(
    words: Sequence[str], counts: Sequence[int], vectors: NDArray[Any], relatives: int = 5
) -> dict[str, Any]:
    """Where each word lies in the unit disk.

    Args:
        words: n texts.
        counts: how often each occurs.
        vectors: their embeddings, (n, d), finite.
        relatives: how many of each word's nearest are named.

    Returns:
        Plain data:

        - `words`: in the order given, for each `text`, `count`, `norm`, its place `x`, `y`, the
          indices of its `relatives`, the largest cosine first, with their `cosines`, the index of
          its `parent` with the `cosine` to it (both None for the smallest norm), and `edge`, points
          [x, y] of the geodesic to it.
        - `centre`, `scale`: the norm at the origin, and hyperbolic length for a norm of one.
        - `rings`: `norm` and `radius` in the disk of a few round norms.
        - `kept`, `kept_by_chance`: share of the relatives that are among the AMONG nearest words in
          the disk, and what a random placement would keep; None for a single word.

    Raises:
        ValueError: the lengths differ, or a vector is not finite.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    n = len(words)
    if not (len(counts) == n and vectors.ndim == 2 and len(vectors) == n):
        raise ValueError(
            f"{n} words, {len(counts)} counts and vectors {vectors.shape}: need one of each a word"
        )
    if not np.isfinite(vectors).all():
        raise ValueError("an embedding has values that are not finite")
    if n == 0:
        return {"words": [], "centre": 0.0, "scale": 1.0, "rings": [], **_kept(None, None, 0)}
    norms = np.linalg.norm(vectors, axis=1)
    centre, scale = _radial(norms)
    cosines = _cosines(vectors, norms)
    points = _on_hyperboloid(scale * (norms - centre), _angles(1 - cosines))
    parents = _parents(cosines, norms)
    near = _nearest(-cosines, relatives)
    places, edges = _in_disk(points), _edges(points, parents)
    return {
        "words": [
            {
                "text": words[i],
                "count": int(counts[i]),
                "norm": float(norms[i]),
                "x": places[i][0],
                "y": places[i][1],
                "relatives": near[i].tolist(),
                "cosines": np.round(cosines[i, near[i]], 3).tolist(),
                "parent": parents[i],
                "cosine": _cosine(cosines, i, parents[i]),
                "edge": edges[i],
            }
            for i in range(n)
        ],
        "centre": centre,
        "scale": scale,
        "rings": _rings(norms, centre, scale),
        **_kept(points, near, n),
    }


def most_frequent(texts: Sequence[str], counts: Sequence[int], limit: int) -> list[int]:
    """The indices of the most frequent words, the most frequent first.

    A word may have several tokens, with and without the space before it: the one that occurs most
    stands for it. Capitals tell words apart, since their tokens have embeddings of their own.

    Args:
        texts: tokens that are whole words, as they stand in a text.
        counts: how often each occurs.
        limit: the most words; those that do not occur are left out.
    """
    chosen: dict[str, int] = {}
    for i in sorted(range(len(texts)), key=lambda i: (-counts[i], i)):
        if counts[i] > 0:
            chosen.setdefault(texts[i].strip(), i)
    return list(chosen.values())[:limit]


def _radial(norms: Floats) -> tuple[float, float]:
    """The norm at the origin, and the length of a norm of one."""
    small, large = float(norms.min()), float(np.quantile(norms, LARGE))
    if large - small <= ALIKE * large:
        return 0.0, FARTHEST / large if large else 1.0
    scale = (FARTHEST - NEAREST) / (large - small)
    centre = small - NEAREST / scale
    return (centre, scale) if centre > 0 else (0.0, FARTHEST / large)


def _cosines(vectors: Floats, norms: Floats) -> NDArray[Any]:
    """Cosines of all pairs, (n, n); a vector of zeros is related to none."""
    units = vectors / np.where(norms > 0, norms, 1.0)[:, None]
    return np.clip(units @ units.T, -1.0, 1.0)


def _angles(distances: Floats) -> Floats:
    """An angle for each word: near ones for near relatives, (n,)."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    n = len(distances)
    if n < 3:
        return np.linspace(0, math.pi, n)
    tree = linkage(
        squareform(distances, checks=False), "average", optimal_ordering=n <= MOST_ORDERED
    )
    order, heights = _leaves(tree)
    heights = np.append(heights, tree[-1, 2])  # the gap between the last leaf and the first
    lowest, highest = heights.min(), heights.max()
    unlike = (heights - lowest) / (highest - lowest) if highest > lowest else np.ones(n)
    gaps = EVEN / n + (1 - EVEN) * unlike / unlike.sum()
    angles = np.empty(n)
    # From straight down, counterclockwise, half of the closing gap on either side.
    angles[order] = 2 * math.pi * (np.cumsum(gaps) - gaps + gaps[-1] / 2) - math.pi / 2
    return angles


def _leaves(tree: Floats) -> tuple[list[int], Floats]:
    """The leaves of a linkage in order, and the heights at which successive ones meet."""
    n = len(tree) + 1
    leaves, heights = [], []
    waiting: list[tuple[int, bool]] = [(2 * n - 2, False)]
    while waiting:
        node, half_done = waiting.pop()
        if node < n:
            leaves.append(node)
            continue
        left, right, height = int(tree[node - n, 0]), int(tree[node - n, 1]), tree[node - n, 2]
        if half_done:
            heights.append(height)
            waiting.append((right, False))
        else:
            waiting += [(node, True), (left, False)]
    return leaves, np.array(heights)


def _parents(cosines: Floats, norms: Floats) -> list[int | None]:
    """For each word the most related one of a smaller norm; equal norms go by their place."""
    order = np.argsort(norms, kind="stable")
    parents: list[int | None] = [None] * len(norms)
    for place, i in enumerate(order[1:], 1):
        inner = order[:place]
        parents[i] = int(inner[np.argmax(cosines[i, inner])])
    return parents


def _cosine(cosines: Floats, i: int, parent: int | None) -> float | None:
    return None if parent is None else round(float(cosines[i, parent]), 3)


def _nearest(distances: Floats, count: int) -> NDArray[np.int64]:
    """The indices of each word's nearest others, (n, at most count)."""
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, : min(count, len(others) - 1)]


def _on_hyperboloid(distances: Floats, angles: Floats) -> Any:
    """Points of the hyperbolic plane in polar coordinates, a float64 tensor (n, 3)."""
    import torch

    from bench.geometry.lorentz import expmap0

    tangents = distances[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return expmap0(torch.from_numpy(tangents), K)


def _in_disk(points: Any) -> list[Any]:
    """Points of the hyperboloid (..., 3) as nested lists [x, y] in the unit disk."""
    from bench.geometry.stereographic import from_lorentz, radius

    return np.round((from_lorentz(points, K) / radius(K)).numpy(), _DIGITS).tolist()


def _edges(points: Any, parents: list[int | None]) -> list[list[list[float]]]:
    """The geodesic from each word to its parent in the disk; empty for the root."""
    import torch

    from bench.geometry.lorentz import geodesic

    targets = [i if parent is None else parent for i, parent in enumerate(parents)]
    # Closer together in the middle: there the disk shows a step longest.
    even = torch.linspace(-1, 1, PATH, dtype=points.dtype)
    shares = (2 + even + even**3) / 4
    paths = _in_disk(geodesic(points[:, None], points[targets][:, None], shares, K))
    return [[] if parent is None else path for parent, path in zip(parents, paths, strict=True)]


def _rings(norms: Floats, centre: float, scale: float) -> list[dict[str, float]]:
    """Round norms between the smallest and the largest, and their radius in the disk."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
    ticks = np.asarray(locator.tick_values(norms.min(), norms.max()))
    inside = ticks[(ticks > centre) & (norms.min() <= ticks) & (ticks <= norms.max())]
    places = _in_disk(_on_hyperboloid(scale * (inside - centre), np.zeros(len(inside))))
    return [
        {"norm": float(f"{tick:.6g}"), "radius": place[0]}
        for tick, place in zip(inside, places, strict=True)
    ]


def _kept(points: Any, near: NDArray[np.int64] | None, n: int) -> dict[str, float | None]:
    """How many relatives the disk keeps near."""
    if n < 2 or near is None:
        return {"kept": None, "kept_by_chance": None}
    from bench.geometry.lorentz import dist

    shown = _nearest(dist(points[:, None], points[None], K).numpy(), AMONG)
    kept = [len(set(a) & set(b)) for a, b in zip(near.tolist(), shown.tolist(), strict=True)]
    return {"kept": sum(kept) / near.size, "kept_by_chance": min(1.0, AMONG / (n - 1))}
