"""Words in the Poincare disk, placed by norm and similarity of their embeddings.

- **Radius**: data. A word's hyperbolic distance from the origin is ``scale * (norm - centre)``,
  with both numbers chosen to use the whole disk and reported with the picture.
- **Angle**: layout. The leaves of a dendrogram (average linkage, cosine distance) are spread around
  the circle in order, with wider gaps between less similar neighbours. The orientation of branches
  and the start of the circle mean nothing. ``kept`` is the share of near neighbours that a circle,
  which has one dimension, preserves.
- **Edges**: from each word to its parent, the most similar word of a smaller norm. Every set of
  vectors has such a tree; it is no evidence of a hierarchy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from bench.geometry.lorentz import dist, expmap0, geodesic
from bench.geometry.stereographic import from_lorentz, radius

Floats = NDArray[np.float64]

K = 1.0  # the disk is the stereographic chart of the plane with curvature -1/K
NEAREST, FARTHEST = 0.5, 3.2  # distances from the origin of the smallest norm and of a large one
LARGE = 0.98  # quantile of the large norm; outliers lie nearer to the boundary
ALIKE = 0.01  # relative spread below which all norms count as equal
EVEN = 0.5  # share of the circle that is distributed evenly
MOST_ORDERED = 1000  # words up to which scipy's optimal leaf order, O(n^3), takes seconds
PATH = 17  # points of an edge
AMONG = 10  # nearest words in the disk, among which the nearest by cosine are counted

_DIGITS = 5  # of a coordinate in a disk of radius 1: a hundredth of a pixel


def layout(
    words: Sequence[str], counts: Sequence[int], vectors: NDArray[Any], relatives: int = 5
) -> dict[str, Any]:
    """The position of each word in the unit disk.

    Args:
        vectors: their embeddings, (n, d), finite.
        relatives: number of nearest neighbours by cosine to name for each word.

    Returns:
        Plain data:

        - `words`: in the given order; each has `text`, `count`, `norm`, its position `x`, `y`, the
          indices of its `relatives`, the largest cosine first, with their `cosines`, the index of
          its `parent` with the `cosine` to it (both None for the smallest norm), and `edge`, points
          [x, y] of the geodesic to it.
        - `centre`, `scale`: the norm at the origin, and hyperbolic length per unit of norm.
        - `rings`: `norm` and `radius` in the disk of a few round norms.
        - `kept`, `kept_by_chance`: share of the relatives that are among the AMONG nearest words in
          the disk, and its expectation for random positions; None for a single word.

    Raises:
        ValueError: a vector is not finite.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    if not np.isfinite(vectors).all():
        raise ValueError("an embedding has values that are not finite")
    none = {"kept": None, "kept_by_chance": None}
    if not words:
        return {"words": [], "centre": 0.0, "scale": 1.0, "rings": [], **none}
    norms = np.linalg.norm(vectors, axis=1)
    centre, scale = _radial(norms)
    units = vectors / np.where(norms > 0, norms, 1.0)[:, None]
    cosines = np.clip(units @ units.T, -1.0, 1.0)
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
                "parent": parent,
                "cosine": None if parent is None else round(float(cosines[i, parent]), 3),
                "edge": edges[i],
            }
            for i, parent in enumerate(parents)
        ],
        "centre": centre,
        "scale": scale,
        "rings": _rings(norms, centre, scale),
        **(_kept(points, near) if near.size else none),
    }


def most_frequent(texts: Sequence[str], counts: Sequence[int], limit: int) -> list[int]:
    """The indices of the most frequent words that occur, the most frequent first.

    Of a word's tokens, with and without a space before it, the most frequent one represents it.
    Words that differ in case are different.
    """
    chosen: dict[str, int] = {}
    for i in sorted(range(len(texts)), key=lambda i: (-counts[i], i)):
        if counts[i] > 0:
            chosen.setdefault(texts[i].strip(), i)
    return list(chosen.values())[:limit]


def _radial(norms: Floats) -> tuple[float, float]:
    """The norm at the origin, and hyperbolic length per unit of norm."""
    small, large = float(norms.min()), float(np.quantile(norms, LARGE))
    if large - small <= ALIKE * large:
        return 0.0, FARTHEST / large if large else 1.0
    scale = (FARTHEST - NEAREST) / (large - small)
    centre = small - NEAREST / scale
    return (centre, scale) if centre > 0 else (0.0, FARTHEST / large)


def _angles(distances: Floats) -> Floats:
    """An angle for each word, similar for similar words, (n,)."""
    n = len(distances)
    if n < 3:
        return np.linspace(0, math.pi, n)
    condensed = squareform(distances, checks=False)
    tree = hierarchy.linkage(condensed, "average", optimal_ordering=n <= MOST_ORDERED)
    order = hierarchy.leaves_list(tree)
    # The heights at which successive leaves meet, and the root's between the last and the first.
    heights = squareform(hierarchy.cophenet(tree))[order[:-1], order[1:]]
    heights = np.append(heights, tree[-1, 2])
    lowest, highest = heights.min(), heights.max()
    unlike = (heights - lowest) / (highest - lowest) if highest > lowest else np.ones(n)
    gaps = EVEN / n + (1 - EVEN) * unlike / unlike.sum()
    angles = np.empty(n)
    # Counterclockwise from the bottom, with half of the last gap on either side.
    angles[order] = 2 * math.pi * (np.cumsum(gaps) - gaps + gaps[-1] / 2) - math.pi / 2
    return angles


def _parents(cosines: Floats, norms: Floats) -> list[int | None]:
    """For each word the most similar one of a smaller norm; equal norms count by position."""
    order = np.argsort(norms, kind="stable")
    parents: list[int | None] = [None] * len(norms)
    for place, i in enumerate(order[1:], 1):
        inner = order[:place]
        parents[i] = int(inner[np.argmax(cosines[i, inner])])
    return parents


def _nearest(distances: Floats, count: int) -> NDArray[np.int64]:
    """The indices of each word's nearest others, (n, at most count)."""
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, : min(count, len(others) - 1)]


def _on_hyperboloid(distances: Floats, angles: Floats) -> torch.Tensor:
    """Points of the plane, float64 (n, 3), from polar coordinates."""
    tangents = distances[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return expmap0(torch.from_numpy(tangents), K)


def _in_disk(points: torch.Tensor) -> list[Any]:
    """Points of the hyperboloid (..., 3) as nested lists [x, y] in the unit disk."""
    return np.round((from_lorentz(points, K) / radius(K)).numpy(), _DIGITS).tolist()


def _edges(points: torch.Tensor, parents: list[int | None]) -> list[list[list[float]]]:
    """The geodesic from each word to its parent in the disk; empty for the root."""
    targets = [i if parent is None else parent for i, parent in enumerate(parents)]
    # Denser in the middle, which the disk enlarges.
    even = torch.linspace(-1, 1, PATH, dtype=points.dtype)
    shares = (2 + even + even**3) / 4
    paths = _in_disk(geodesic(points[:, None], points[targets][:, None], shares, K))
    return [[] if parent is None else path for parent, path in zip(parents, paths, strict=True)]


def _rings(norms: Floats, centre: float, scale: float) -> list[dict[str, float]]:
    """Round norms between the smallest and the largest, and their radius in the disk."""
    low, high = float(norms.min()), float(norms.max())
    if low == high:
        return []
    raw = (high - low) / 6
    ten = 10.0 ** math.floor(math.log10(raw))
    step = next(digit * ten for digit in (1, 2, 2.5, 5, 10) if digit * ten >= raw)
    ticks = step * np.arange(np.ceil(low / step), np.floor(high / step) + 1)
    inside = ticks[ticks > centre]
    places = _in_disk(_on_hyperboloid(scale * (inside - centre), np.zeros(len(inside))))
    return [
        {"norm": float(f"{tick:.6g}"), "radius": place[0]}
        for tick, place in zip(inside, places, strict=True)
    ]


def _kept(points: torch.Tensor, near: NDArray[np.int64]) -> dict[str, float]:
    """The share of relatives that the disk keeps near."""
    shown = _nearest(dist(points[:, None], points[None], K).numpy(), AMONG)
    kept = [len(set(a) & set(b)) for a, b in zip(near.tolist(), shown.tolist(), strict=True)]
    return {"kept": sum(kept) / near.size, "kept_by_chance": min(1.0, AMONG / (len(near) - 1))}
