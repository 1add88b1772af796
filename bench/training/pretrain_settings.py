"""The settings of a pretraining, as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.errors import InputError, unknown
from bench.training.settings import PRECISIONS


@dataclass(frozen=True)
class PretrainSettings:
    """How a base is pretrained; the values stand in conf/action/pretrain.yaml.

    Attributes:
        steps: optimiser steps.
        step_tokens: tokens in each, a multiple of `row_tokens`.
        row_tokens: tokens in a packed row.
        micro_rows: rows in a forward pass, halved where memory does not hold them; in float32 it
            changes no result but for HELM-MiCE's balance loss, a ten-thousandth of its size, which
            is of the tokens that go through the model together.
        devices: how many GPUs, or processes on a processor, share the rows of each step.
        sharded: whether they share weights and the optimiser's state out, too.
        lr: peak learning rate of AdamW.
        lr_floor: the share of it that the cosine ends at.
        warmup: the share of the steps over which it rises.
        weight_decay: AdamW's, on matrices.
        gradient_clip: largest norm of the whole gradient; 0 for none.
        precision: `auto`, `32-true` or `bf16-mixed`.
        held_out: share of the documents that is never trained on.
        evaluations: how often bits per byte are taken while training, the last at the end.
        checkpoint_minutes: how often the state for a resume is saved.
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
        for name in ("steps", "micro_rows", "devices", "lr", "checkpoint_minutes"):
            if getattr(self, name) <= 0:
                raise InputError(f"action.{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("weight_decay", "gradient_clip", "evaluations"):
            if getattr(self, name) < 0:
                raise InputError(f"action.{name} must not be negative, got {getattr(self, name)}")
        for name in ("lr_floor", "warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"action.{name} is a share, 0 to 1, got {getattr(self, name)}")
        if not 0 < self.held_out < 1:
            raise InputError(
                f"action.held_out is a share between 0 and 1, got {self.held_out:g}: bits per byte "
                "are taken on what is held out"
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
                "action.sharded=true shares a model out among devices: give action.devices, too"
            )
        if self.precision not in PRECISIONS:
            raise unknown("action.precision", self.precision, PRECISIONS)

    @property
    def rows(self) -> int:
        """Rows of a step."""
        return self.step_tokens // self.row_tokens

    @property
    def warmup_steps(self) -> int:
        """Steps over which the learning rate rises."""
        return math.ceil(self.warmup * self.steps)

    def evaluates(self, step: int) -> bool:
        """Whether bits per byte are taken after a step, counted from 1."""
        return step * self.evaluations // self.steps > (step - 1) * self.evaluations // self.steps
