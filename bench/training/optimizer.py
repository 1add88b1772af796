"""AdamW and the learning-rate schedules that fine-tuning and pretraining share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch

Decay = Literal["linear", "cosine", "constant"]


def learning_rate_factor(
    step: int,
    total: int,
    warmup: int,
    decay: Decay = "linear",
    flat: float = 0.0,
    floor: float = 0.0,
) -> float:
    """What the learning rate is multiplied by at a step.

    Args:
        step: the optimiser step, from 0.
        total: how many steps there are; the factor reaches `floor` there.
        warmup: steps of linear rise from 0 (the first step already has 1/warmup).
        decay: how it falls after that.
        flat: the share of `total` up to which it stays at 1 before it falls.
        floor: what it falls to.
    """
    if step < warmup:
        return (step + 1) / warmup
    start = max(warmup, round(flat * total))
    if step < start or decay == "constant":
        return 1.0
    left = max(0.0, (total - step) / max(1, total - start))
    fallen = left if decay == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))
    return floor + (1.0 - floor) * fallen


def adamw(
    parameters: Iterable[tuple[str, torch.nn.Parameter]],
    lr: float,
    weight_decay: float,
    factors: Mapping[str, float] | None = None,
    vectors: tuple[str, ...] = (),
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; weight decay on matrices alone.

    Vectors and scalars (norm weights, a curvature, a norm scale) have no direction that
    shrinking would regularise.

    Args:
        parameters: names and parameters; frozen ones are passed over.
        lr: learning rate.
        weight_decay: of matrices.
        factors: what the learning rate of a parameter is multiplied by, by a part of its name.
        vectors: ends of the names of parameters that are vectors, although they have more axes.
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
        ]
    )
