"""Fine-tuning as Lightning sees it: what a step is, and what a resume needs."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

from bench.data.batches import Steps
from bench.memory import halving
from bench.training.best import Best
from bench.training.loss import LESS_MEMORY, target_loss
from bench.training.optimizer import adamw, learning_rate_factor
from bench.training.ranks import add_up
from bench.training.settings import TrainSettings

LOSSES = 100  # how many training losses are recorded at most


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
        self.best = Best()
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
        if self.steps.ranks > 1:
            add_up(self.trainer.strategy, self.parameters(), step_loss)
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
        torch.manual_seed(self.seed * 1_000_003 + step + self.global_rank * 2**40)
        step_loss = torch.zeros((), device=self.device)
        targets = self.steps.targets(step)
        for micro_batch in self.steps.micro_batches(step, self.global_rank):
            on_device = self.trainer.strategy.batch_to_device(micro_batch)
            loss = target_loss(self.model, on_device) / targets
            self.manual_backward(loss)
            step_loss += loss.detach()
        return step_loss

    def configure_optimizers(self) -> dict[str, Any]:
        s = self.settings
        factors = {"hyplora_K": s.curvature_lr_factor}
        optimizer = adamw(self.named_parameters(), s.lr, s.weight_decay, factors)
        warmup = s.warmup_steps(self.total_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(step, self.total_steps, warmup, s.decay),
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = without_frozen(self, checkpoint["state_dict"])
        used = self.steps.micro_batch_size
        checkpoint["progress"] = {
            "losses": self.losses,
            "validation": self.validation,
            "seconds": self.seconds,
            "best": self.best.state(),
            # Only where memory has set it: what was merely chosen may be chosen anew.
            "fits": used if used < self.asked else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        progress = checkpoint["progress"]
        self.losses = [tuple(entry) for entry in progress["losses"]]
        self.validation = [tuple(entry) for entry in progress["validation"]]
        self.earlier_seconds = progress["seconds"]
        self.best = Best(**progress.get("best") or {})
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


def without_frozen(module: torch.nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """A module's state less its frozen weights: the base has those already.

    Buffers stay; they are small. What else a state has are the constants of quantised weights.
    """
    # Tied weights stand in the state under each of their names.
    own = {n for n, p in module.named_parameters(remove_duplicate=False) if p.requires_grad}
    own |= {n for n, _ in module.named_buffers(remove_duplicate=False)}
    return {name: value for name, value in state.items() if name in own}
