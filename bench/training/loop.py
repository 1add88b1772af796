"""The training of an adapter in one process: alone, or as one rank of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import Strategy

from bench.data.batches import Example, Steps, step_order
from bench.training.activations import checkpointing
from bench.training.callbacks import ShowProgress, Validate
from bench.training.module import FineTuning
from bench.training.resume import SaveState, finished_steps
from bench.training.settings import TrainSettings
from bench.training.trainer import fit


@dataclass(frozen=True)
class Job:
    """What an adapter is trained on and how, as plain data that another process can be sent.

    The attributes are arguments of :func:`bench.training.finetune.finetune`.
    """

    examples: list[Example]
    validation: list[Example]
    settings: TrainSettings
    seed: int
    pad_id: int
    title: str

    @property
    def steps(self) -> Steps:
        """The optimiser steps."""
        s = self.settings
        order = step_order(len(self.examples), s.batch_size, s.epochs, self.seed)
        rows = min(s.micro_batch_size, s.batch_size)
        return Steps(self.examples, order, rows, self.pad_id, s.devices)


def resolve_precision(name: str, device: torch.device) -> str:
    """The precision that `train.precision=auto` selects: bf16-mixed on a GPU that supports it.

    On a CPU float32: many emulate bf16, and small models gain little from it.
    """
    if name != "auto":
        return name
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if bf16 else "32-true"


def train(
    model: Any,
    job: Job,
    state: Path | None,
    watch: Callable[[int, float], None] | None = None,
    strategy: str | Strategy = "auto",
) -> FineTuning:
    """Train the parameters of a model that require a gradient, resuming from a saved state.

    Args:
        model: a causal language model with an adapter, on its device.
        job: what to train it on.
        state: where the state is saved; None to save none.
        watch: called with (step, validation loss) after each validation.
        strategy: Lightning's.

    Returns:
        The Lightning module, with its losses; the model is left in eval mode.
    """
    settings, steps = job.settings, job.steps
    module = FineTuning(model, settings, steps, job.seed, job.title)
    first = finished_steps(state)
    if state and first == len(steps):  # killed before the adapter was saved, or trained by ranks
        module.load_finished(state)
    else:
        callbacks: list[Any] = [ShowProgress(job.title)]
        # Before SaveState, so that a saved state includes the validation at its step.
        if job.validation and settings.validated:
            callbacks.append(Validate(job.validation, settings, watch))
        if state:
            callbacks.append(SaveState(state, settings.checkpoint_minutes, settings.devices > 1))
        device = next(model.parameters()).device
        model.train()
        with checkpointing(model, settings.gradient_checkpointing):
            fit(
                module,
                range(first, len(steps)),
                callbacks,
                state if first else None,
                device,
                resolve_precision(settings.precision, device),
                devices=settings.devices,
                strategy=strategy,
            )
    module.best.restore(module)
    model.eval()
    return module
