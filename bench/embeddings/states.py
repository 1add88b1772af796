"""Norms of the last block's output by token type, as HELM (arXiv 2505.24722) compares words.

The states are taken before the final norm, after which all have nearly one length.
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
    """The mean norm of the last block's output over the positions of each type.

    First positions are left out: attention makes them unlike all others.

    Args:
        model: a causal language model in eval mode.
        prompts: token ids.
        vocabulary: number of types.

    Returns:
        Norms, of space coordinates for a model on a hyperboloid; NaN for types in no prompt.
    """
    total, times = np.zeros(vocabulary), np.zeros(vocabulary)
    device = next(model.parameters()).device
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    blocks = max(lists, key=len)
    seen: list[torch.Tensor] = []
    handle = blocks[-1].register_forward_hook(
        lambda block, given, made: seen.append(made[0] if isinstance(made, tuple) else made)
    )
    try:
        for ids in prompts:
            given = torch.tensor([list(ids)], device=device)
            model(input_ids=given, use_cache=False, logits_to_keep=1)
            norms = seen.pop()[0, 1:].float().norm(dim=-1).cpu().numpy()
            np.add.at(total, list(ids)[1:], norms)
            np.add.at(times, list(ids)[1:], 1)
    finally:
        handle.remove()
    return Norms(ROLE, False, np.divide(total, times, np.full(vocabulary, np.nan), where=times > 0))
