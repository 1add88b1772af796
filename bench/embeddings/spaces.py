"""Delta of reference spaces of known shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import networkx
import numpy as np
import torch
from numpy.typing import NDArray

from bench.geometry.hyperbolicity import distances as distances_between
from bench.geometry.hyperbolicity import relative_deltas

QUADRUPLES = 1000  # sampled from a space in the paper, which takes the largest delta of them
LARGE = 4096  # dimensions of LLaMA-7B's and LLaMA3-8B's embedding

Distances = NDArray[np.float64]


class Space(NamedTuple):
    """A kind of space; `draw` returns the distances between a number of points of a new one."""

    name: str
    note: str
    draw: Callable[[int, np.random.Generator], Distances]
    dimension: int | None = None


def reference_spaces(dimension: int) -> list[Space]:
    """The paper's reference spaces, and clouds of random points, one of this dimension."""
    clouds = {
        2: "Euclidean distance",
        dimension: "the dimensions of this base's embedding",
        LARGE: "the dimensions of LLaMA-7B's",
    }
    return [
        Space("tree", "uniform, distance in edges", partial(_graph, networkx.random_labeled_tree)),
        Space(
            "scale-free graph, a tree",
            "Barabási and Albert's, one edge a node",
            partial(_graph, partial(networkx.barabasi_albert_graph, m=1)),
        ),
        Space(
            "scale-free graph",
            "Barabási and Albert's, two edges a node",
            partial(_graph, partial(networkx.barabasi_albert_graph, m=2)),
        ),
        Space(
            "random graph",
            "Erdős and Rényi's, six neighbours a node, largest part",
            partial(_graph, lambda n, seed: networkx.gnp_random_graph(n, 6 / (n - 1), seed)),
        ),
        Space("sphere", "uniform on the 2-sphere, great-circle distance", _sphere),
        *(
            Space(f"Gaussian cloud, {d} dimensions", note, partial(_cloud, d), d)
            for d, note in clouds.items()
        ),
    ]


def space_deltas(
    spaces: Sequence[Space],
    points: int,
    samples: int,
    seed: int,
    progress: Callable[[int], Any] = lambda count: None,
) -> Iterator[dict[str, Any]]:
    """2 delta / diameter of `samples` drawn spaces of each kind.

    Yields:
        For each kind `space`, `note`, `dimension`, `points`, and a value for each drawn space: the
        largest of QUADRUPLES sampled quadruples (`sampled`, as in the paper), of all with the first
        point (`first`, as for prompts), and of all (`exact`).
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
            "exact": relative_deltas(drawn, "all", "precomputed", progress=progress),
        }


def sampled_delta(distances: Distances, quadruples: int, generator: np.random.Generator) -> float:
    """2 delta / diameter of sampled quadruples of different points, given distances (n, n), n >= 4.

    By the four-point condition: of the sums of distances of the three pairings of four points,
    delta is half the difference between the two largest.
    """
    drawn = generator.random((quadruples, len(distances))).argpartition(3, axis=1)[:, :4]
    a, b, c, d = drawn.T
    pairs = (((a, b), (c, d)), ((a, c), (b, d)), ((a, d), (b, c)))
    sums = np.sort([distances[one] + distances[other] for one, other in pairs], axis=0)
    return float((sums[2] - sums[1]).max() / distances.max())


def _graph(make: Callable[..., Any], points: int, generator: np.random.Generator) -> Distances:
    """Distances in edges in the largest component of a graph."""
    graph = make(points, seed=int(generator.integers(2**31)))
    largest = max(networkx.connected_components(graph), key=len)
    return np.asarray(networkx.floyd_warshall_numpy(graph.subgraph(largest)), dtype=np.float64)


def _sphere(points: int, generator: np.random.Generator) -> Distances:
    vectors = generator.standard_normal((points, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # From half the chord: arccos of the inner product is inaccurate for near points.
    chords = distances_between(torch.as_tensor(vectors)).numpy()
    return 2 * np.arcsin(np.clip(chords / 2, 0, 1))


def _cloud(dimension: int, points: int, generator: np.random.Generator) -> Distances:
    return distances_between(
        torch.as_tensor(generator.standard_normal((points, dimension)))
    ).numpy()
