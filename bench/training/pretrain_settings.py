"""The settings of a pretraining."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.errors import InputError
from bench.training.settings import check_settings


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
    held_out: float
    evaluations: int
    checkpoint_minutes: float

    def __post_init__(self) -> None:
        positive = ("steps", "micro_rows", "devices", "lr", "checkpoint_minutes")
        not_negative = ("weight_decay", "gradient_clip", "evaluations")
        check_settings("action", self, positive, not_negative)
        for name in ("lr_floor", "warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"action.{name} is a share, 0 to 1, got {getattr(self, name)}")
        if not 0 < self.held_out < 1:
            raise InputError(
                f"action.held_out is a share between 0 and 1, got {self.held_out:g}: bits per byte "
                "are measured on held-out documents"
            )
        if self.row_tokens < 2:
            raise InputError(f"action.row_tokens must be at least 2, got {self.row_tokens}")
        if self.step_tokens < 1 or self.step_tokens % self.row_tokens:
            raise InputError(
                f"action.step_tokens={self.step_tokens} must be a multiple of "
                f"action.row_tokens={self.row_tokens}"
            )
        if self.rows % self.devices:
            raise InputError(
                f"action.devices={self.devices} can't share the {self.rows} rows of a step evenly: "
                "action.step_tokens / action.row_tokens must be a multiple of it"
            )
        if self.sharded and self.devices == 1:
            raise InputError(
                "action.sharded=true shards a model over several devices: give action.devices, too"
            )

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
        return step * self.evaluations // self.steps > (step - 1) * self.evaluations // self.steps
