"""AdamW and the learning-rate schedules that fine-tuning and pretraining share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch

Decay = Literal["linear", "cosine", "constant"]


def learning_rate_factor(
    step: int, total: int, warmup: int, decay: Decay = "linear", flat: float = 0.0
) -> float:
    """What the learning rate is multiplied by at a step.

    Args:
        step: the optimiser step, from 0.
        total: how many steps there are; the factor reaches 0 there.
        warmup: steps of linear rise from 0 (the first step already has 1/warmup).
        decay: how it falls after that.
        flat: the share of `total` up to which it stays at 1 before it falls.
    """
    if step < warmup:
        return (step + 1) / warmup
    start = max(warmup, round(flat * total))
    if step < start or decay == "constant":
        return 1.0
    left = max(0.0, (total - step) / max(1, total - start))
    return left if decay == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))


def adamw(
    parameters: Iterable[tuple[str, torch.nn.Parameter]], lr: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; weight decay on matrices alone.

    Vectors and scalars (norm weights, a curvature, a norm scale) have no direction that
    shrinking would regularise.
    """
    trainable = [(name, p) for name, p in parameters if p.requires_grad]
    groups = [
        {"params": [p for _, p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for _, p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr)
