"""The training of an adapter in one process: alone, or as one rank of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import Strategy

from bench.data.batches import Example, Steps, step_order
from bench.training.activations import checkpointing
from bench.training.callbacks import ShowProgress, Validate
from bench.training.console import quiet_lightning
from bench.training.module import FineTuning
from bench.training.resume import SaveState, StepLoader, finished_steps, fit
from bench.training.settings import TrainSettings


@dataclass(frozen=True)
class Work:
    """What an adapter is trained on and how: plain data, that another process can be given.

    Attributes:
        examples: encoded training rows.
        validation: encoded validation rows; may be empty.
        settings: see TrainSettings.
        seed: fixes the order of the problems and the randomness of each step.
        pad_id: token id to pad with.
        title: what the progress is told under.
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
    """What `train.precision=auto` means on a device: bf16-mixed on a GPU that has it.

    On a processor float32: many laptops emulate bf16, and small models gain little from it.
    """
    if name != "auto":
        return name
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if bf16 else "32-true"


def train(
    model: Any,
    work: Work,
    state: Path | None,
    watch: Callable[[int, float], None] | None = None,
    strategy: str | Strategy = "auto",
) -> FineTuning:
    """Train what requires a gradient in a model, from a saved state on where there is one.

    Args:
        model: a causal language model with an adapter, on its device.
        work: what to train it on.
        state: where the state for a resume is saved; None to save none.
        watch: called with (step, validation loss) whenever one is taken.
        strategy: Lightning's.

    Returns:
        What Lightning trained, with its losses; the model is left in eval mode.
    """
    settings, steps = work.settings, work.steps
    module = FineTuning(model, settings, steps, work.seed, work.title)
    first = finished_steps(state)
    if first == len(steps):  # killed before the adapter was saved, or trained by ranks
        module.load_finished(state)
        module.best.put_back(module)
        model.eval()
        return module
    device = next(model.parameters()).device
    quiet_lightning()
    trainer = L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=settings.devices,
        strategy=strategy,
        precision=resolve_precision(settings.precision, device),
        max_steps=len(steps),
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[
            ShowProgress(work.title),
            # The order matters: a saved state has the validation that was due at its step.
            *(
                [Validate(work.validation, settings, watch)]
                if work.validation and settings.validated
                else []
            ),
            *(
                [SaveState(state, settings.checkpoint_minutes, settings.devices > 1)]
                if state
                else []
            ),
        ],
    )
    model.train()
    later = StepLoader(range(first, len(steps)), len(steps))
    with checkpointing(model, settings.gradient_checkpointing):
        fit(trainer, module, later, state if first else None)
    module.best.put_back(module)
    model.eval()
    return module
