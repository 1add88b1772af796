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

    The controls put another table in the place of the embedding: one of Gaussian vectors as long
    as each type's own, and one in which each type has the vector of another type of the prompts.
    A token that stands twice in a prompt does so in the controls, too, and what the tokenizer puts
    in front keeps its own vector in the second.

    Args:
        embedding: (vocabulary, dimension), in any dtype; its device is computed on.
        prompts: token ids by set, with what the tokenizer puts around a text.
        special: types that are no part of a text.
        seed: of the controls.
        told: called with the number of clouds done; `clouds_of` says how many there are.

    Yields:
        For each set and measure `set`, `tokens`, and what `deltas_beside` gives.
    """
    used = torch.tensor(sorted({i for rows in prompts.values() for ids in rows for i in ids}))
    place = {int(token): row for row, token in enumerate(used)}
    own = embedding[used].float().cpu()
    generator = torch.Generator().manual_seed(seed)
    ordinary = torch.tensor([row for token, row in place.items() if token not in set(special)])
    shuffled = own.clone()
    shuffled[ordinary] = own[ordinary[torch.randperm(len(ordinary), generator=generator)]]
    tables = {EMBEDDINGS: own, GAUSSIAN: gaussian_like(own, generator), SHUFFLED: shuffled}
    for key, rows in prompts.items():
        places = [torch.tensor([place[i] for i in ids]) for ids in rows]
        clouds = {name: [table[where] for where in places] for name, table in tables.items()}
        for found in deltas_beside(EMBEDDINGS, clouds, told=told, device=embedding.device):
            yield {"set": key, "tokens": [len(ids) for ids in rows], **found}


def clouds_of(prompts: int) -> int:
    """How many clouds are measured for so many prompts."""
    return prompts * 3 * len(MEASURES)
