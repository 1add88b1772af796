"""Delta of prompts, by their embeddings or last hidden states, with controls.

In many dimensions random points have nearly equal distances, and therefore a small delta. So a
value is meaningful only relative to its controls.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.geometry.hyperbolicity import BASE_POINTS, relative_deltas

EMBEDDINGS, STATES, GAUSSIAN, SHUFFLED = "embeddings", "states", "gaussian", "shuffled"
METRICS = {EMBEDDINGS: ("euclidean", "cosine"), STATES: ("euclidean",)}

Prompts = Mapping[str, Sequence[Sequence[int]]]  # token ids by set, including special tokens
Update = Callable[[int], Any]  # called with the number of clouds measured since the last call


@dataclass(frozen=True)
class Tuned:
    """A model whose layers are measured.

    Attributes:
        facts: `model` (its label), `method` (`none` for the base), `curvature` (K or `auto`) and
            `run` (start of its identity); None for what is unknown or does not exist.
        load: returns it in eval mode; called when needed, so that one model is in memory.
    """

    facts: dict[str, Any]
    load: Callable[[], Any]


def gaussian_like(vectors: Tensor, generator: torch.Generator) -> Tensor:
    """Vectors (n, d) with random directions and the norms of the given ones, on the CPU."""
    drawn = torch.randn(vectors.shape, generator=generator, dtype=vectors.dtype)
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return drawn * (lengths / torch.linalg.vector_norm(drawn, dim=1, keepdim=True))


def cloud_count(prompts: int, kind: str) -> int:
    """Number of clouds measured for a number of prompts and EMBEDDINGS or STATES, with controls."""
    return prompts * 3 * len(METRICS[kind]) * len(BASE_POINTS)


def control_deltas(
    kind: str,
    clouds: Mapping[str, Sequence[Tensor]],
    device: torch.device,
    progress: Update = lambda count: None,
) -> Iterator[dict[str, Any]]:
    """Relative delta of clouds and of their controls, for each pair of metric and base point.

    `clouds` has lists of equal length, (n, d) each, by name: the `kind`, GAUSSIAN and SHUFFLED.

    Yields:
        `metric`, `base_point` and, under the names of `clouds`, lists of values.
    """
    for metric, base_point in itertools.product(METRICS[kind], BASE_POINTS):
        found: dict[str, Any] = {"metric": metric, "base_point": base_point}
        for name, given in clouds.items():
            if metric == "cosine":  # a padding token's row may be zero
                given = [cloud[cloud.any(dim=1)] for cloud in given]
            found[name] = relative_deltas(
                given, base_point, metric, progress=progress, device=device
            )
        yield found


def prompt_deltas(
    embedding: Tensor,
    prompts: Prompts,
    special: Sequence[int],
    seed: int,
    progress: Update = lambda count: None,
) -> Iterator[dict[str, Any]]:
    """Relative delta of the prompts of each set, as in the camera-ready's Table 2.

    Controls replace the embeddings by Gaussian vectors of the same norms, and by those of other
    types of the prompts, except for special tokens. Repeated tokens stay repeated. Controls are
    drawn for each prompt, so that the spread over prompts includes that of the draws.

    Args:
        embedding: (vocabulary, dimension), in any dtype; deltas are computed on its device.
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
        for found in control_deltas(EMBEDDINGS, clouds, embedding.device, progress):
            yield {"set": key, "tokens": [len(ids) for ids in rows], **found}


def hidden_deltas(
    model: Any, prompts: Prompts, seed: int, progress: Update = lambda count: None
) -> Iterator[dict[str, Any]]:
    """Relative delta of the head's inputs for the prompts of each set: the paper's Tables 6 and 7.

    Controls: Gaussian vectors with the states' norms, and the states of a set shuffled over its
    prompts, except for those of first positions, which attention makes unlike all others.

    Yields:
        For each set and measure `set` and the values of `control_deltas`.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    for key, rows in prompts.items():
        states = [last_hidden(model, ids) for ids in rows]
        gaussian = [gaussian_like(cloud, generator) for cloud in states]
        rest = torch.cat([cloud[1:] for cloud in states])
        drawn = rest[torch.randperm(len(rest), generator=generator)]
        parts = drawn.split([len(cloud) - 1 for cloud in states])
        shuffled = [torch.cat([own[:1], part]) for own, part in zip(states, parts, strict=True)]
        clouds = {STATES: states, GAUSSIAN: gaussian, SHUFFLED: shuffled}
        for found in control_deltas(STATES, clouds, device, progress):
            yield {"set": key, **found}


@torch.inference_mode()
def last_hidden(model: Any, ids: Sequence[int]) -> Tensor:
    """The states after the last layer and its norm, (tokens, dimension) in float32 on the CPU."""
    given = torch.tensor([list(ids)], device=next(model.parameters()).device)
    made = model(input_ids=given, use_cache=False, output_hidden_states=True, logits_to_keep=1)
    return made.hidden_states[-1][0].float().cpu()
