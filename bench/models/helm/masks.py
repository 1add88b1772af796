"""Attention masks: causal, for padding, and for documents of packed rows."""

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
    """The mask of a batch, as in `attend`; None for a plain causal one, which has faster kernels.

    Args:
        config: The configuration of the model.
        embeds: `(batch, tokens, n)`.
        given: The caller's mask: `(batch, tokens so far)`, 0 for padding; or a 4D mask.
        sequence_ids: `(batch, tokens)`, the document of each token of a packed row.
        past_key_values: The cache of earlier tokens.
        position_ids: Without a mask, a document begins wherever the caller's positions restart.

    Raises:
        ValueError: Documents together with a cache or a 4D mask, or of another shape.
    """
    if sequence_ids is None:
        mask: Any = create_causal_mask(
            config=config,
            inputs_embeds=embeds,
            attention_mask=given,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        return mask
    if past_key_values is not None and past_key_values.get_seq_length():
        raise ValueError("sequence_ids need complete rows: leave them out with a cache")
    if sequence_ids.shape != embeds.shape[:2]:
        raise ValueError(
            f"sequence_ids must be (batch, tokens) = {tuple(embeds.shape[:2])}, not "
            f"{tuple(sequence_ids.shape)}"
        )
    if given is not None and given.ndim != 2:
        raise ValueError("sequence_ids and a 4D attention_mask exclude each other: give one")
    tokens = embeds.shape[1]
    same = sequence_ids.unsqueeze(2) == sequence_ids.unsqueeze(1)
    mask = same & torch.ones(tokens, tokens, dtype=torch.bool, device=embeds.device).tril()
    mask = mask.unsqueeze(1)
    return mask if given is None else mask & given.bool()[:, None, None, :]
