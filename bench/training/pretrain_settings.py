"""The settings of a pretraining."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.errors import InputError
from bench.training.settings import check_settings


@dataclass(frozen=True)
class PretrainSettings:
    """How a base is pretrained; conf/action/pretrain.yaml has the values.

    Attributes:
        steps: optimiser steps.
        step_tokens: tokens in each, a multiple of `row_tokens`.
        row_tokens: tokens in a packed row.
        micro_rows: rows in a forward pass, halved if memory is short. In float32 it affects
            HELM-MiCE's balance loss alone, by a ten-thousandth, which is computed per pass.
        devices: number of GPUs, or processes on a CPU, that share the rows of each step.
        sharded: whether weights and optimiser state are sharded over them (FSDP2).
        lr: peak learning rate of AdamW.
        lr_floor: share of it at which the cosine ends.
        warmup: share of the steps during which it rises.
        weight_decay: AdamW's, on matrices.
        gradient_clip: maximum norm of the whole gradient; 0 for none.
        precision: `auto`, `32-true` or `bf16-mixed`.
        held_out: share of the documents that is never trained on.
        evaluations: number of measurements of bits per byte during training, the last at the end.
        checkpoint_minutes: interval at which the state for a resume is saved.
    """

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
