"""The settings of a fine-tuning run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bench.errors import InputError, unknown

CHOICES = {
    "keep": ("last", "best"),
    "decay": ("linear", "cosine", "constant"),
    "precision": ("auto", "32-true", "bf16-mixed"),
}


@dataclass(frozen=True)
class TrainSettings:
    """How an adapter is fine-tuned; conf/train/default.yaml describes each setting."""

    lr: float
    epochs: float
    batch_size: int
    micro_batch_size: int
    devices: int
    curvature_lr_factor: float
    weight_decay: float
    warmup: float
    decay: str
    gradient_clip: float
    train_on_inputs: bool
    precision: str
    validations: int
    checkpoint_minutes: float
    validate_every: int | None = None
    keep: str = "last"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        sizes = ("batch_size", "micro_batch_size", "devices")
        positive = ("lr", "epochs", *sizes, "checkpoint_minutes")
        not_negative = ("curvature_lr_factor", "weight_decay", "gradient_clip", "validations")
        check_settings("train", self, positive, not_negative)
        if self.warmup < 0 or (self.warmup >= 1 and self.warmup != int(self.warmup)):
            raise InputError(
                f"train.warmup is a share of the steps below 1, or a whole number of steps, got "
                f"{self.warmup}"
            )
        if self.validate_every is not None and self.validate_every < 1:
            raise InputError(f"train.validate_every must be at least 1, got {self.validate_every}")
        if self.keep == "best" and not self.validated:
            raise InputError(
                "train.keep=best needs a validation loss: give train.validate_every=80"
            )

    @property
    def validated(self) -> bool:
        """Whether there are validations, given rows for them."""
        return self.validate_every is not None or self.validations > 0

    def validates(self, step: int, total: int) -> bool:
        """Whether a validation follows a step, counted from 1, of `total`."""
        if self.validate_every is not None:
            return step % min(self.validate_every, total) == 0
        return step * self.validations // total > (step - 1) * self.validations // total

    def warmup_steps(self, total: int) -> int:
        """Number of warm-up steps out of `total`."""
        return int(self.warmup) if self.warmup >= 1 else math.ceil(self.warmup * total)


def check_settings(
    section: str, settings: Any, positive: Iterable[str], not_negative: Iterable[str]
) -> None:
    """Check ranges and choices of settings.

    Raises:
        InputError: a value is out of range, or not among `CHOICES`.
    """
    for name in positive:
        if (value := getattr(settings, name)) <= 0:
            raise InputError(f"{section}.{name} must be greater than 0, got {value}")
    for name in not_negative:
        if (value := getattr(settings, name)) < 0:
            raise InputError(f"{section}.{name} must not be negative, got {value}")
    for name, allowed in CHOICES.items():
        if (value := getattr(settings, name, allowed[0])) not in allowed:
            raise unknown(f"{section}.{name}", value, allowed)
