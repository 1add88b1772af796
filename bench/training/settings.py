"""The settings of fine-tuning and pretraining."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.errors import InputError
from bench.fields import check_values

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
    sharded: bool = False
    compile: bool = False
    micro_tokens: int | None = None

    def __post_init__(self) -> None:
        sizes = ("batch_size", "micro_batch_size", "micro_tokens", "devices", "validate_every")
        zero = ("curvature_lr_factor", "weight_decay", "gradient_clip", "validations")
        check_values(
            "train",
            self,
            positive=("lr", "epochs", "checkpoint_minutes"),
            least=dict.fromkeys(zero, 0) | dict.fromkeys(sizes, 1),
            choices=CHOICES,
        )
        _check_sharding("train", self.sharded, self.devices)
        if self.warmup < 0 or (self.warmup >= 1 and self.warmup != int(self.warmup)):
            raise InputError(
                "train.warmup must be a share of the steps below 1, or a whole number of steps, "
                f"got {self.warmup}"
            )
        if self.keep == "best" and not self.validated:
            raise InputError(
                "train.keep=best needs a validation loss: give train.validate_every=80"
            )
        if self.compile and self.sharded:
            raise InputError(
                "train.compile=true can't be combined with train.sharded=true, whose hooks split "
                "the graphs: leave one of them out"
            )

    @property
    def float32(self) -> bool:
        """Whether a base of any dtype is trained in float32: not if `auto` selects 32-true."""
        return self.precision == "32-true"

    @property
    def validated(self) -> bool:
        """Whether there are validations, given rows for them."""
        return self.validate_every is not None or self.validations > 0

    def validates(self, step: int, total: int) -> bool:
        """Whether a validation follows a step, counted from 1, of `total`."""
        if self.validate_every is not None:
            return step % min(self.validate_every, total) == 0
        return evenly(step, self.validations, total)

    def warmup_steps(self, total: int) -> int:
        """Number of warm-up steps out of `total`."""
        return int(self.warmup) if self.warmup >= 1 else math.ceil(self.warmup * total)


@dataclass(frozen=True)
class PretrainSettings:
    """How a base is pretrained; conf/action/pretrain.yaml describes each setting."""

    steps: int
    step_tokens: int
    row_tokens: int
    micro_rows: int
    devices: int
    sharded: bool
    lr: float
    lr_floor: float
    warmup: float
    weight_decay: float
    gradient_clip: float
    precision: str
    validation: float
    test: float
    evaluations: int
    checkpoint_minutes: float

    def __post_init__(self) -> None:
        sizes = ("steps", "step_tokens", "micro_rows", "devices")
        zero = ("weight_decay", "gradient_clip", "evaluations")
        check_values(
            "action",
            self,
            positive=("lr", "checkpoint_minutes"),
            least=dict.fromkeys(zero, 0) | dict.fromkeys(sizes, 1) | {"row_tokens": 2},
            choices={"precision": CHOICES["precision"]},
        )
        _check_sharding("action", self.sharded, self.devices)
        for name in ("lr_floor", "warmup"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise InputError(f"action.{name} must be a share from 0 to 1, got {share}")
        if min(self.shares) <= 0 or sum(self.shares) >= 1:
            raise InputError(
                "action.validation and action.test are the shares of documents that are not "
                f"trained on: each must be above 0, and their sum below 1, got {self.validation:g} "
                f"and {self.test:g}"
            )
        if self.step_tokens % self.row_tokens:
            raise InputError(
                f"action.step_tokens={self.step_tokens} must be a multiple of "
                f"action.row_tokens={self.row_tokens}"
            )
        if self.rows % self.devices:
            raise InputError(
                f"action.devices={self.devices} can't share the {self.rows} rows of a step evenly: "
                "action.step_tokens / action.row_tokens must be a multiple of it"
            )

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the documents for validation and for test."""
        return self.validation, self.test

    @property
    def rows(self) -> int:
        """Rows of a step."""
        return self.step_tokens // self.row_tokens

    @property
    def warmup_steps(self) -> int:
        """Number of warm-up steps."""
        return math.ceil(self.warmup * self.steps)

    def evaluates(self, step: int) -> bool:
        """Whether bits per byte are measured after a step, counted from 1."""
        return evenly(step, self.evaluations, self.steps)


def evenly(step: int, times: int, total: int) -> bool:
    """Whether a step, counted from 1, is one of `times` evenly spaced ones, the last at `total`."""
    return step * times // total > (step - 1) * times // total


def _check_sharding(section: str, sharded: bool, devices: int) -> None:
    if sharded and devices == 1:
        raise InputError(
            f"{section}.sharded=true shards a model over several devices: also give "
            f"{section}.devices"
        )
