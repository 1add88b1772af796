"""Delta of point clouds and of controls that share their norms, or their points, alone.

In many dimensions random points have nearly equal distances, and therefore a small delta. So a
value is meaningful only relative to its controls.
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
    """Vectors with random directions and the given norms.

    Args:
        vectors: (n, d), floating-point, on the CPU.
        generator: of the CPU.
    """
    drawn = torch.randn(vectors.shape, generator=generator, dtype=vectors.dtype)
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return drawn * (lengths / torch.linalg.vector_norm(drawn, dim=1, keepdim=True))


def control_deltas(
    clouds: Mapping[str, Sequence[Tensor]],
    measures: Sequence[tuple[str, str]] = MEASURES,
    progress: Callable[[int], Any] = lambda count: None,
    device: torch.device | None = None,
) -> Iterator[dict[str, Any]]:
    """Relative delta of clouds and of their controls.

    Args:
        clouds: lists of equal length, (n, d) each, by name: the clouds, GAUSSIAN and SHUFFLED.
        measures: pairs of metric and base point.
        progress: called with the number of finished clouds.
        device: to compute on; None for that of the clouds.

    Yields:
        For each measure `metric`, `base_point` and, under the names of `clouds`, lists of values.
    """
    for metric, base_point in measures:
        found: dict[str, Any] = {"metric": metric, "base_point": base_point}
        for name, members in clouds.items():
            given = members
            if metric == "cosine":  # a padding token's row may be zero
                given = [cloud[cloud.any(dim=1)] for cloud in members]
            found[name] = relative_deltas(given, base_point, metric, told=progress, device=device)
        yield found


def cloud_count(prompts: int, measures: Sequence[tuple[str, str]] = MEASURES) -> int:
    """Number of clouds that are measured for a number of prompts, including controls."""
    return prompts * 3 * len(measures)
