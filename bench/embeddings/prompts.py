"""Delta of the input embeddings of each prompt with controls: the camera-ready's Table 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.embeddings.controls import GAUSSIAN, SHUFFLED, control_deltas, gaussian_like

EMBEDDINGS = "embeddings"


def prompt_deltas(
    embedding: Tensor,
    prompts: Mapping[str, Sequence[Sequence[int]]],
    special: Sequence[int],
    seed: int,
    progress: Callable[[int], Any] = lambda count: None,
) -> Iterator[dict[str, Any]]:
    """Relative delta of the prompts of each set.

    Controls replace the embeddings by Gaussian vectors of the same norms, and by those of other
    types of the prompts, except for special tokens. Repeated tokens stay repeated. Controls are
    drawn for each prompt, so that the spread over prompts includes that of the draws.

    Args:
        embedding: (vocabulary, dimension), in any dtype; deltas are computed on its device.
        prompts: token ids by set, including special tokens.
        special: types that are no part of a text.
        seed: of the controls.
        progress: called with the number of finished clouds, of `controls.cloud_count`.

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
