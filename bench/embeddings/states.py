"""Norms of what the last block gives out, by type of token: HELM's view of Norm against frequency.

HELM (arXiv 2505.24722) looks at how far from the origin words of different specificity lie behind
the last layer. What the head reads has passed a norm, behind which all states are of nearly one
length; so the states are taken in front of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.embeddings.norms import Norms

ROLE = "states"


@torch.inference_mode()
def state_norms(model: Any, prompts: Iterable[Sequence[int]], vocabulary: int) -> Norms:
    """The mean norm of the last block's output over the places where a type stands.

    A prompt's first place is left out: attention makes it unlike all others.

    Args:
        model: a causal language model in eval mode.
        prompts: token ids.
        vocabulary: how many types there are.

    Returns:
        Of a model on a hyperboloid the norms of space coordinates; NaN for a type that stands in no
        prompt.
    """
    total, times = np.zeros(vocabulary), np.zeros(vocabulary)
    device = next(model.parameters()).device
    taken: list[torch.Tensor] = []
    handle = _last_block(model).register_forward_hook(
        lambda block, given, made: taken.append(made[0] if isinstance(made, tuple) else made)
    )
    try:
        for ids in prompts:
            given = torch.tensor([list(ids)], device=device)
            model(input_ids=given, use_cache=False, logits_to_keep=1)
            norms = taken.pop()[0, 1:].float().norm(dim=-1).cpu().numpy()
            np.add.at(total, list(ids)[1:], norms)
            np.add.at(times, list(ids)[1:], 1)
    finally:
        handle.remove()
    return Norms(ROLE, False, np.divide(total, times, np.full(vocabulary, np.nan), where=times > 0))


def _last_block(model: Any) -> nn.Module:
    """The last of the blocks: of a model's lists of modules they are the longest."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len)[-1]
