"""Which earlier tokens a token may look at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.masking_utils import create_causal_mask

from bench.models.helm.config import HelmConfig


def attention_mask(
    config: HelmConfig,
    embeds: Tensor,
    given: Tensor | None,
    sequence_ids: Tensor | None,
    past_key_values: Cache | None,
    position_ids: Tensor | None = None,
) -> Tensor | None:
    """The mask of a batch; None where a plain causal one does, for which kernels have a fast path.

    Args:
        config: of the model.
        embeds: `(batch, tokens, n)`.
        given: of the caller: `(batch, tokens so far)`, 0 for padding; or a mask of four axes.
        sequence_ids: `(batch, tokens)`, the document that each token of a packed row belongs to.
        past_key_values: what is cached of earlier tokens.
        position_ids: `(batch, tokens)`, of the caller; where they begin anew in a row that has no
            mask, so does a document.

    Returns:
        As of `bench.models.helm.attend.attend`.

    Raises:
        ValueError: documents beside a cache, or a mask of another shape.
    """
    if sequence_ids is None:
        made: Any = create_causal_mask(
            config=config,
            inputs_embeds=embeds,
            attention_mask=given,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        return made
    if past_key_values is not None and past_key_values.get_seq_length():
        raise ValueError("sequence_ids are for rows that are given whole: leave them out here")
    if sequence_ids.shape != embeds.shape[:2]:
        raise ValueError(
            f"sequence_ids must be (batch, tokens) = {tuple(embeds.shape[:2])}, not "
            f"{tuple(sequence_ids.shape)}"
        )
    tokens = embeds.shape[1]
    same = sequence_ids.unsqueeze(2) == sequence_ids.unsqueeze(1)
    mask = same & torch.ones(tokens, tokens, dtype=torch.bool, device=embeds.device).tril()
    mask = mask.unsqueeze(1)
    if given is None:
        return mask
    if given.ndim != 2:
        raise ValueError("sequence_ids beside a mask of four axes: give one of them")
    return mask & given.bool()[:, None, None, :]
