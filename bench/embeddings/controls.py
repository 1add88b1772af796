"""Delta of point clouds beside that of clouds which have their norms, or their points, and no more.

In many dimensions the distances between random points are nearly equal, and then delta is small
whatever the points mean. So a value says something by what it differs from its controls alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.geometry.hyperbolicity import relative_deltas

GAUSSIAN, SHUFFLED = "gaussian", "shuffled"
MEASURES = (("euclidean", "first"), ("euclidean", "all"), ("cosine", "first"), ("cosine", "all"))


def gaussian_like(vectors: Tensor, generator: torch.Generator) -> Tensor:
    """Vectors in random directions, each as long as the one in its place.

    Args:
        vectors: (n, d), floating-point, on the processor.
        generator: of the processor.
    """
    drawn = torch.randn(vectors.shape, generator=generator, dtype=vectors.dtype)
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return drawn * (lengths / torch.linalg.vector_norm(drawn, dim=1, keepdim=True))


def deltas_beside(
    own: str,
    clouds: Mapping[str, Sequence[Tensor]],
    measures: Sequence[tuple[str, str]] = MEASURES,
    told: Callable[[int], Any] = lambda count: None,
    device: torch.device | None = None,
) -> Iterator[dict[str, Any]]:
    """Relative delta of each cloud, of its Gaussian control and of its shuffled one.

    Args:
        own: what the clouds themselves are called in the result.
        clouds: under `own`, GAUSSIAN and SHUFFLED as many clouds each, (n, d).
        measures: pairs of metric and base point.
        told: called with the number of clouds done.
        device: to compute on; None: where the clouds are.

    Yields:
        For each measure `metric`, `base_point` and, under the names of `clouds`, lists of values.
    """
    assert set(clouds) == {own, GAUSSIAN, SHUFFLED}
    for metric, base_point in measures:
        found: dict[str, Any] = {"metric": metric, "base_point": base_point}
        for name, members in clouds.items():
            given = members
            if metric == "cosine":  # a padding token's row is zero in some bases, without an angle
                given = [cloud[cloud.any(dim=1)] for cloud in members]
            found[name] = relative_deltas(given, base_point, metric, told=told, device=device)
        yield found
