"""The loss of fine-tuning."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from bench.data.batches import IGNORED

# Their attention is causal and their positions are counted from the first column, so padding
# on the right changes no target's logits, and a mask would only cost time. It would also keep
# PyTorch from using flash attention.
MASK_FREE = frozenset(
    "gemma gemma2 gemma3_text llama mistral olmo2 phi3 qwen2 qwen3 smollm3 starcoder2".split()
)


def target_loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The sum of `target_losses`, float32, ()."""
    return target_losses(model, batch, reduction="sum")


def target_losses(model: Any, batch: dict[str, Any], reduction: str) -> torch.Tensor:
    """The cross-entropy of the target tokens of a micro-batch of `collate`, float32.

    The shape is (rows * positions,) with the reduction `none`, zero if a position is no target.
    Logits are computed from the first target on if the model's forward supports it: with a
    vocabulary of 128,256 they take more memory than everything else.
    """
    width = batch["labels"].shape[1]
    kept = width - batch["first_target"] + 1  # the position before predicts the first target
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    options = {"logits_to_keep": kept} if _takes(type(base), "logits_to_keep") else {}
    if base.config.model_type not in MASK_FREE:
        options["attention_mask"] = batch["attention_mask"]
    logits = model(input_ids=batch["input_ids"], use_cache=False, **options).logits
    # Virtual tokens (prefix and prompt tuning) come first, and a model may return all logits:
    # the labels belong to the last positions.
    return F.cross_entropy(
        logits[:, -kept:-1].flatten(0, 1).float(),
        batch["labels"][:, 1 - kept :].flatten(),
        ignore_index=IGNORED,
        reduction=reduction,
    )


@cache
def _takes(model_class: Any, argument: str) -> bool:
    return argument in inspect.signature(model_class.forward).parameters
