"""Delta of spaces whose shape is known: what a value of an embedding is to be read against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.geometry.hyperbolicity import distances as distances_between
from bench.geometry.hyperbolicity import relative_deltas

QUADRUPLES = 1000  # that the paper samples of a space, and takes the largest delta of
LARGE = 4096  # dimensions of LLaMA-7B's and LLaMA3-8B's embedding

Distances = NDArray[np.float64]


@dataclass(frozen=True)
class Space:
    """A kind of space.

    Attributes:
        name: of the kind.
        note: how it is drawn.
        draw: gives the distances between so many points of one.
        dimension: of a cloud of random points; None for the others.
    """

    name: str
    note: str
    draw: Callable[[int, np.random.Generator], Distances]
    dimension: int | None = None


def reference_spaces(dimension: int) -> tuple[Space, ...]:
    """The paper's reference spaces, and clouds of random points, which its table has not.

    Args:
        dimension: of the base's embedding; one of the clouds has as many.
    """
    clouds = [
        Space(f"Gaussian cloud, {d} dimensions", note, _cloud(d), d)
        for d, note in (
            (2, "Euclidean distance"),
            (dimension, "the dimensions of this base's embedding"),
            (LARGE, "the dimensions of LLaMA-7B's"),
        )
    ]
    return (
        Space("tree", "uniform, distance in edges", _tree),
        Space("scale-free graph, a tree", "Barabási and Albert's, one edge a node", _scale_free(1)),
        Space("scale-free graph", "Barabási and Albert's, two edges a node", _scale_free(2)),
        Space(
            "random graph", "Erdős and Rényi's, six neighbours a node, largest part", _random_graph
        ),
        Space("sphere", "uniform on the 2-sphere, great-circle distance", _sphere),
        *{space.name: space for space in clouds}.values(),
    )


def space_deltas(
    spaces: Sequence[Space],
    points: int,
    samples: int,
    seed: int,
    told: Callable[[int], Any] = lambda count: None,
) -> Iterator[dict[str, Any]]:
    """2 delta / diameter of reference spaces.

    Args:
        spaces: of `reference_spaces`.
        points: of each space.
        samples: spaces drawn of each kind.
        seed: of the draws.
        told: called with the number of spaces done.

    Yields:
        For each kind `space`, `note`, `dimension`, `points`, and a value for each drawn space: of
        the worst of QUADRUPLES drawn four-tuples (`sampled`, as the paper says), of all that its
        first point is in (`first`, as of prompts), and of all (`exact`).
    """
    for space in spaces:
        generator = np.random.default_rng(seed)
        drawn = [space.draw(points, generator) for _ in range(samples)]
        yield {
            "space": space.name,
            "note": space.note,
            "dimension": space.dimension,
            "points": points,
            "sampled": [sampled_delta(each, QUADRUPLES, generator) for each in drawn],
            "first": relative_deltas(drawn, "first", "precomputed"),
            "exact": relative_deltas(drawn, "all", "precomputed", told=told),
        }


def sampled_delta(distances: Distances, quadruples: int, generator: np.random.Generator) -> float:
    """2 delta / diameter, delta being the largest of so many drawn four-tuples.

    Of the three ways to pair four points off, delta is half of what the sum of the two distances
    is larger in the worst than in the next: the four-point condition.

    Args:
        distances: (n, n), n at least 4.
        quadruples: each of four different points.
        generator: of the draws.
    """
    drawn = generator.random((quadruples, len(distances))).argpartition(3, axis=1)[:, :4]
    a, b, c, d = drawn.T
    pairs = (((a, b), (c, d)), ((a, c), (b, d)), ((a, d), (b, c)))
    sums = np.sort([distances[one] + distances[other] for one, other in pairs], axis=0)
    return float((sums[2] - sums[1]).max() / distances.max())


def _tree(points: int, generator: np.random.Generator) -> Distances:
    import networkx

    return _hops(networkx.random_labeled_tree(points, seed=_seed(generator)))


def _scale_free(edges: int) -> Callable[[int, np.random.Generator], Distances]:
    def draw(points: int, generator: np.random.Generator) -> Distances:
        import networkx

        return _hops(networkx.barabasi_albert_graph(points, edges, seed=_seed(generator)))

    return draw


def _random_graph(points: int, generator: np.random.Generator) -> Distances:
    import networkx

    graph = networkx.gnp_random_graph(points, 6 / (points - 1), seed=_seed(generator))
    largest = max(networkx.connected_components(graph), key=len)
    return _hops(graph.subgraph(largest))


def _sphere(points: int, generator: np.random.Generator) -> Distances:
    vectors = generator.standard_normal((points, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # Of half the chord: arccos of the product has lost half its digits where points are near.
    chords = distances_between(torch.as_tensor(vectors)).numpy()
    return 2 * np.arcsin(np.clip(chords / 2, 0, 1))


def _cloud(dimension: int) -> Callable[[int, np.random.Generator], Distances]:
    def draw(points: int, generator: np.random.Generator) -> Distances:
        vectors = torch.as_tensor(generator.standard_normal((points, dimension)))
        return distances_between(vectors).numpy()

    return draw


def _hops(graph: Any) -> Distances:
    import networkx

    return np.asarray(networkx.floyd_warshall_numpy(graph), dtype=np.float64)


def _seed(generator: np.random.Generator) -> int:
    return int(generator.integers(2**31))
