"""AdamW and the learning-rate schedules of fine-tuning and pretraining."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR


def learning_rate_factor(
    step: int,
    total: int,
    warmup: int,
    decay: str = "linear",
    flat: float = 0.0,
    floor: float = 0.0,
) -> float:
    """The factor of the learning rate at a step, from 0, of `total`.

    It rises linearly over the warm-up (the first step already has 1/warmup), stays at 1 up to the
    share `flat` of all steps, and decays (linear, cosine or constant) to `floor` at `total`.
    """
    if step < warmup:
        return (step + 1) / warmup
    start = max(warmup, round(flat * total))
    if step < start or decay == "constant":
        return 1.0
    left = max(0.0, (total - step) / max(1, total - start))
    fallen = left if decay == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))
    return floor + (1.0 - floor) * fallen


def schedule(optimizer: torch.optim.Optimizer, *args: Any, **options: Any) -> LambdaLR:
    """The schedule by `learning_rate_factor`, whose arguments follow."""
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, *args, **options))


def adamw(
    parameters: Iterable[tuple[str, torch.nn.Parameter]],
    lr: float,
    weight_decay: float,
    factors: Mapping[str, float] | None = None,
    vectors: tuple[str, ...] = (),
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, with weight decay on matrices alone.

    Args:
        factors: factors of the learning rate, by a part of a parameter's name.
        vectors: name endings of parameters with several axes that are stacked vectors.
    """
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in parameters:
        if parameter.requires_grad:
            factor = next((f for part, f in (factors or {}).items() if part in name), 1.0)
            matrix = parameter.ndim >= 2 and not name.endswith(vectors)
            decay = weight_decay if matrix else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "lr": lr * factor, "weight_decay": decay}
            for (factor, decay), members in groups.items()
        ],
        fused=True,
    )
