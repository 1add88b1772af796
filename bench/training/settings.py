"""The settings of a fine-tuning run, as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.errors import InputError, unknown

KEPT = ("last", "best")
PRECISIONS = ("auto", "32-true", "bf16-mixed")


@dataclass(frozen=True)
class TrainSettings:
    """How an adapter is fine-tuned.

    Attributes:
        lr: peak learning rate of AdamW.
        epochs: passes over the training rows; fractions are allowed.
        batch_size: problems in an optimiser step.
        micro_batch_size: problems in one forward pass, halved where memory does not hold them; in
            float32 it changes no result.
        devices: how many GPUs, or processes on a processor, share the rows of each step, with
            `micro_batch_size` on each; in float32 it changes no result.
        curvature_lr_factor: what `lr` is multiplied by for a curvature that is trained.
        weight_decay: AdamW's, on matrices.
        warmup: over which the learning rate rises: a share of the steps below 1, else how many.
        decay: `linear`, `cosine` or `constant`.
        gradient_clip: largest norm of the whole gradient; 0 for none.
        train_on_inputs: whether the loss counts the prompt too.
        precision: `auto` (bf16-mixed on a GPU that has it, else 32-true), or one of the two.
        validations: how often the validation loss is taken, evenly spread, the last at the end.
        checkpoint_minutes: how often the state for a resume is saved.
        validate_every: takes it after every so many steps instead (at the end where there are
            fewer); None for `validations`.
        keep: `last`, or `best`: the adapter at the lowest validation loss, the first of equal ones.
        gradient_checkpointing: compute activations twice instead of keeping them; less memory, a
            third more time, the same result.
    """

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
        for name in ("lr", "epochs", *sizes, "checkpoint_minutes"):
            if getattr(self, name) <= 0:
                raise InputError(f"train.{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("curvature_lr_factor", "weight_decay", "gradient_clip", "validations"):
            if getattr(self, name) < 0:
                raise InputError(f"train.{name} must not be negative, got {getattr(self, name)}")
        if self.warmup < 0 or (self.warmup >= 1 and self.warmup != int(self.warmup)):
            raise InputError(
                f"train.warmup is a share of the steps below 1, or a whole number of steps, got "
                f"{self.warmup}"
            )
        if self.validate_every is not None and self.validate_every < 1:
            raise InputError(f"train.validate_every must be at least 1, got {self.validate_every}")
        if self.keep not in KEPT:
            raise unknown("train.keep", self.keep, KEPT)
        if self.keep == "best" and not self.validated:
            raise InputError(
                "train.keep=best needs a validation loss: give train.validate_every=80"
            )
        if self.decay not in ("linear", "cosine", "constant"):
            raise unknown("train.decay", self.decay, ("linear", "cosine", "constant"))
        if self.precision not in PRECISIONS:
            raise unknown("train.precision", self.precision, PRECISIONS)

    @property
    def validated(self) -> bool:
        """Whether a validation loss is taken, where there are rows for it."""
        return self.validate_every is not None or self.validations > 0

    def validates(self, step: int, total: int) -> bool:
        """Whether the validation loss is taken after a step, counted from 1, of so many."""
        if self.validate_every is not None:
            return step % min(self.validate_every, total) == 0
        return step * self.validations // total > (step - 1) * self.validations // total

    def warmup_steps(self, total: int) -> int:
        """The steps over which the learning rate rises, of so many."""
        return int(self.warmup) if self.warmup >= 1 else math.ceil(self.warmup * total)
