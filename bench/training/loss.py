"""The loss of fine-tuning."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from bench.data.batches import IGNORED

# What a person can do where the loss of a single row does not fit in memory.
LESS_MEMORY = (
    "take train.gradient_checkpointing=true, lower protocol.max_length, which leaves longer rows "
    "out, or take model.dtype=bfloat16 or a smaller base"
)


def target_loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The sum of the cross-entropy over a micro-batch's target tokens, float32.

    Logits are computed from the first target on, where the model's forward can be told so: of a
    vocabulary of 128,256 they take more memory than all else, and the prompts' count for nothing.

    Args:
        model: a causal language model, with an adapter or without.
        batch: as `bench.data.batches.collate` makes it.
    """
    width = batch["labels"].shape[1]
    kept = width - batch["first_target"] + 1  # the one before predicts the first
    options = {"logits_to_keep": kept} if _takes(type(_base(model)), "logits_to_keep") else {}
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
        **options,
    ).logits
    # A model may put virtual tokens in front (prefix and prompt tuning), or give all logits: the
    # last positions are the ones that belong to the labels.
    return F.cross_entropy(
        logits[:, -kept:-1].flatten(0, 1).float(),
        batch["labels"][:, 1 - kept :].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@cache
def _takes(model_class: Any, argument: str) -> bool:
    return argument in inspect.signature(model_class.forward).parameters
