"""The loss of fine-tuning."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from bench.data.batches import IGNORED


def target_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The sum of the cross-entropy over a micro-batch's target tokens, float32."""
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).logits
    labels = batch["labels"][:, 1:]
    # A model may put virtual tokens in front (prefix and prompt tuning): the last positions are
    # the ones that belong to the labels.
    logits = logits[:, -batch["labels"].shape[1] : -1]
    return F.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
