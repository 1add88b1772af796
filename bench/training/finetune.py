"""Fine-tuning an adapter with Lightning, on CPU or GPU; a killed run goes on where it was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch

from bench.data.batches import Example, Steps, step_order
from bench.memory import halving
from bench.training.callbacks import ShowProgress, Validate
from bench.training.console import quiet_lightning
from bench.training.loss import LESS_MEMORY, target_loss
from bench.training.optimizer import adamw, learning_rate_factor
from bench.training.resume import SaveState, StepLoader, finished_steps, fit
from bench.training.settings import TrainSettings

LOSSES = 100  # how many training losses are recorded at most


@dataclass
class FineTuned:
    """What fine-tuning did, for the record.

    Attributes:
        steps: optimiser steps.
        seconds: wall time of all of them, the parts before a resume included.
        padding: share of the positions that was padding, 0 to 1.
        losses: (step, training loss of the step) at up to `LOSSES` steps.
        validation: (step, validation loss), both per target token.
        target_tokens: tokens that the loss counted, over all steps.
        micro_batch_size: rows in a forward pass at the end; less than asked for where memory did
            not hold so many.
    """

    steps: int
    seconds: float
    padding: float
    target_tokens: int
    micro_batch_size: int
    losses: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)


class FineTuning(L.LightningModule):
    """One optimiser step a batch: its loss is the mean over the target tokens of the whole step."""

    strict_loading = False  # a checkpoint holds the adapter alone

    def __init__(
        self, model: Any, settings: TrainSettings, steps: Steps, seed: int, title: str
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.settings, self.steps = model, settings, steps
        self.total_steps, self.seed, self.title = len(steps), seed, title
        self.asked = steps.micro_batch_size
        self.losses: list[tuple[int, float]] = []
        self.validation: list[tuple[int, float]] = []
        self.last_loss = torch.zeros(())
        self.earlier_seconds = 0.0
        self.started = time.perf_counter()

    def training_step(self, step: int, index: int) -> torch.Tensor:
        optimizer = self.optimizers()

        def gradients(rows: int) -> torch.Tensor:
            optimizer.zero_grad()  # those of a part of the step, where memory was short
            self.steps.micro_batch_size = rows
            return self._gradients(step)

        step_loss = halving(gradients, self.steps.micro_batch_size, self.title, LESS_MEMORY)
        if self.settings.gradient_clip:
            self.clip_gradients(optimizer, self.settings.gradient_clip, "norm")
        optimizer.step()
        optimizer.zero_grad()
        self.lr_schedulers().step()
        self.last_loss = step_loss
        if step % math.ceil(self.total_steps / LOSSES) == 0:
            self.losses.append((step, float(step_loss)))
            if not math.isfinite(self.losses[-1][1]):
                raise FloatingPointError(
                    f"the loss is {self.losses[-1][1]} at step {step}: lower train.lr"
                )
        return step_loss

    def _gradients(self, step: int) -> torch.Tensor:
        """Add the gradients of a step up; its loss."""
        # The randomness of a step (dropout) is a function of seed and step alone, so that a
        # resume needs no generator's state.
        torch.manual_seed(self.seed * 1_000_003 + step)
        step_loss = torch.zeros((), device=self.device)
        targets = self.steps.targets(step)
        for micro_batch in self.steps.micro_batches(step):
            on_device = self.trainer.strategy.batch_to_device(micro_batch)
            loss = target_loss(self.model, on_device) / targets
            self.manual_backward(loss)
            step_loss += loss.detach()
        return step_loss

    def configure_optimizers(self) -> dict[str, Any]:
        s = self.settings
        factors = {"hyplora_K": s.curvature_lr_factor}
        optimizer = adamw(self.named_parameters(), s.lr, s.weight_decay, factors)
        warmup = math.ceil(s.warmup * self.total_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(step, self.total_steps, warmup, s.decay),
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Frozen weights are in the base already; buffers (a fixed curvature) are small.
        # Tied weights stand in the state under each of their names.
        frozen = {
            name for name, p in self.named_parameters(remove_duplicate=False) if not p.requires_grad
        }
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if k not in frozen}
        used = self.steps.micro_batch_size
        checkpoint["progress"] = {
            "losses": self.losses,
            "validation": self.validation,
            "seconds": self.seconds,
            # Only where memory has set it: what was merely chosen may be chosen anew.
            "fits": used if used < self.asked else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        progress = checkpoint["progress"]
        self.losses = [tuple(entry) for entry in progress["losses"]]
        self.validation = [tuple(entry) for entry in progress["validation"]]
        self.earlier_seconds = progress["seconds"]
        fits = progress.get("fits") or self.asked
        self.steps.micro_batch_size = min(fits, self.asked)

    def load_finished(self, state: Path) -> None:
        """Take over the adapter and the progress of a saved state, without training on."""
        checkpoint = torch.load(state, weights_only=True, map_location=self.device)
        self.load_state_dict(checkpoint["state_dict"], strict=False)
        self.on_load_checkpoint(checkpoint)

    def cpu(self) -> FineTuning:
        # Lightning sends the module to the processor at the end. Weights that other runs share
        # would come back as a copy of their own.
        return self

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, in this process and before a resume."""
        return self.earlier_seconds + time.perf_counter() - self.started


def resolve_precision(name: str, device: torch.device) -> str:
    """What `train.precision=auto` means on a device: bf16-mixed on a GPU that has it.

    On a processor float32: many laptops emulate bf16, and small models gain little from it.
    """
    if name != "auto":
        return name
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if bf16 else "32-true"


def finetune(
    model: Any,
    examples: list[Example],
    validation: list[Example],
    settings: TrainSettings,
    seed: int,
    pad_id: int,
    checkpoints: Path | None = None,
    title: str = "fine-tuning",
    watch: Callable[[int, float], None] | None = None,
) -> FineTuned:
    """Train the parameters of a model that require a gradient.

    Args:
        model: a causal language model with an adapter, on the device to train on.
        examples: encoded training rows.
        validation: encoded validation rows; may be empty.
        settings: see TrainSettings; the precision may be `auto`.
        seed: fixes the order of the problems and the randomness of each step.
        pad_id: token id to pad with.
        checkpoints: folder of the state for a resume; a state found there is gone on from.
        title: what the progress is told under.
        watch: called with (step, validation loss) whenever one is taken; what it raises ends the
            training.

    Returns:
        What was done; the model is trained in place and left in eval mode.

    Raises:
        ValueError: there is nothing to train on, or nothing to train.
        FloatingPointError: the loss is no longer a number.
        Failure: a forward and backward pass of one row alone does not fit in memory.
        Terminated: the process was told to end; the last saved state stays.
    """
    if not examples:
        raise ValueError("there is no training row that fits the model's context")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("the model has no parameter that requires a gradient")
    order = step_order(len(examples), settings.batch_size, settings.epochs, seed)
    steps = Steps(examples, order, min(settings.micro_batch_size, settings.batch_size), pad_id)
    module = FineTuning(model, settings, steps, seed, title)
    device = next(model.parameters()).device
    state = checkpoints / "last.ckpt" if checkpoints else None
    first = finished_steps(state)
    validations = settings.validations if validation else 0
    quiet_lightning()
    trainer = L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=resolve_precision(settings.precision, device),
        max_steps=len(steps),
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[
            ShowProgress(title),
            # The order matters: a saved state has the validation that was due at its step.
            *(
                [Validate(validation, validations, settings.batch_size, watch)]
                if validations
                else []
            ),
            *([SaveState(state, settings.checkpoint_minutes)] if state else []),
        ],
    )
    if first == len(steps):  # killed between the last step and the saving of the adapter
        module.load_finished(state)
    else:
        model.train()
        later = StepLoader(range(first, len(steps)), len(steps))
        fit(trainer, module, later, state if first else None)
    model.eval()
    return FineTuned(
        steps=len(steps),
        seconds=module.seconds,
        padding=steps.padding_share(),
        target_tokens=sum(examples[i].targets for step in order for i in step),
        micro_batch_size=steps.micro_batch_size,
        losses=module.losses,
        validation=module.validation,
    )
