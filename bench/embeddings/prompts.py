"""Delta of the input embeddings of each prompt: the camera-ready's Table 2, beside its controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.embeddings.controls import GAUSSIAN, MEASURES, SHUFFLED, deltas_beside, gaussian_like

EMBEDDINGS = "embeddings"


def prompt_deltas(
    embedding: Tensor,
    prompts: Mapping[str, Sequence[Sequence[int]]],
    special: Sequence[int],
    seed: int,
    told: Callable[[int], Any] = lambda count: None,
) -> Iterator[dict[str, Any]]:
    """Relative delta of the prompts of each set.

    The controls put other vectors in the places of the embeddings: Gaussian ones as long, and those
    of other types of the prompts, where what the tokenizer puts in front keeps its own. A token
    that stands twice in a prompt does so in the controls, too. They are drawn anew for each prompt,
    so that what a draw does is in the spread over prompts.

    Args:
        embedding: (vocabulary, dimension), in any dtype; its device is computed on.
        prompts: token ids by set, with what the tokenizer puts around a text.
        special: types that are no part of a text.
        seed: of the controls.
        told: called with the number of clouds done; `clouds_of` says how many there are.

    Yields:
        For each set and measure `set`, `tokens`, and what `deltas_beside` gives.
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
        for found in deltas_beside(EMBEDDINGS, clouds, told=told, device=embedding.device):
            yield {"set": key, "tokens": [len(ids) for ids in rows], **found}


def clouds_of(prompts: int) -> int:
    """How many clouds are measured for so many prompts."""
    return prompts * 3 * len(MEASURES)
