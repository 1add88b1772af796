"""Delta of the prompts' input embeddings, and of controls that share their norms or points alone.

In many dimensions random points have nearly equal distances, and therefore a small delta. So a
value is meaningful only relative to its controls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.geometry.hyperbolicity import relative_deltas

EMBEDDINGS, GAUSSIAN, SHUFFLED = "embeddings", "gaussian", "shuffled"
MEASURES = (("euclidean", "first"), ("euclidean", "all"), ("cosine", "first"), ("cosine", "all"))


def gaussian_like(vectors: Tensor, generator: torch.Generator) -> Tensor:
    """Vectors (n, d) with random directions and the norms of the given ones, on the CPU."""
    drawn = torch.randn(vectors.shape, generator=generator, dtype=vectors.dtype)
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return drawn * (lengths / torch.linalg.vector_norm(drawn, dim=1, keepdim=True))


def control_deltas(
    clouds: Mapping[str, Sequence[Tensor]],
    measures: Sequence[tuple[str, str]] = MEASURES,
    progress: Callable[[int], Any] = lambda count: None,
    device: torch.device | None = None,
) -> Iterator[dict[str, Any]]:
    """Relative delta of clouds and of their controls, for each pair of metric and base point.

    `clouds` has lists of equal length, (n, d) each, by name: the clouds, GAUSSIAN and SHUFFLED.
    They are moved to `device`, if given. `progress` is called with the number of finished clouds.

    Yields:
        `metric`, `base_point` and, under the names of `clouds`, lists of values.
    """
    for metric, base_point in measures:
        found: dict[str, Any] = {"metric": metric, "base_point": base_point}
        for name, members in clouds.items():
            given = members
            if metric == "cosine":  # a padding token's row may be zero
                given = [cloud[cloud.any(dim=1)] for cloud in members]
            found[name] = relative_deltas(
                given, base_point, metric, progress=progress, device=device
            )
        yield found


def cloud_count(prompts: int, measures: Sequence[tuple[str, str]] = MEASURES) -> int:
    """Number of clouds that are measured for a number of prompts, including controls."""
    return prompts * 3 * len(measures)


def prompt_deltas(
    embedding: Tensor,
    prompts: Mapping[str, Sequence[Sequence[int]]],
    special: Sequence[int],
    seed: int,
    progress: Callable[[int], Any] = lambda count: None,
) -> Iterator[dict[str, Any]]:
    """Relative delta of the prompts of each set, as in the camera-ready's Table 2.

    Controls replace the embeddings by Gaussian vectors of the same norms, and by those of other
    types of the prompts, except for special tokens. Repeated tokens stay repeated. Controls are
    drawn for each prompt, so that the spread over prompts includes that of the draws.

    Args:
        embedding: (vocabulary, dimension), in any dtype; deltas are computed on its device.
        prompts: token ids by set, including special tokens.
        special: types that are no part of a text.

    Yields:
        For each set and measure `set`, `tokens`, and the values of `control_deltas`.
    """
    used = sorted({i for rows in prompts.values() for ids in rows for i in ids})
    table = embedding[used].float().cpu()
    place = {token: row for row, token in enumerate(used)}
    fixed = torch.tensor([token in set(special) for token in used])
    ordinary = (~fixed).nonzero().flatten()
    generator = torch.Generator().manual_seed(seed)
    for key, rows in prompts.items():
        clouds: dict[str, list[Tensor]] = {EMBEDDINGS: [], GAUSSIAN: [], SHUFFLED: []}
        for ids in rows:
            types, where = torch.tensor([place[i] for i in ids]).unique(return_inverse=True)
            others, free = types.clone(), ~fixed[types]
            drawn = torch.randperm(len(ordinary), generator=generator)[: int(free.sum())]
            others[free] = ordinary[drawn]
            clouds[EMBEDDINGS].append(table[types][where])
            clouds[GAUSSIAN].append(gaussian_like(table[types], generator)[where])
            clouds[SHUFFLED].append(table[others][where])
        for found in control_deltas(clouds, progress=progress, device=embedding.device):
            yield {"set": key, "tokens": [len(ids) for ids in rows], **found}
