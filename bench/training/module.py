"""Fine-tuning of an adapter as a Lightning module."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.data.batches import Steps
from bench.memory import halving
from bench.training.loop import StepModule
from bench.training.loss import LESS_MEMORY, target_loss
from bench.training.optimizer import adamw, learning_rate_factor
from bench.training.ranks import reduce_gradients
from bench.training.settings import TrainSettings


@dataclass
class BestWeights:
    """The best weights so far; saved with the state from which a training resumes.

    Attributes:
        step: after which they were taken; 0 if none were.
        loss: the validation loss there.
        weights: trained weights by name, on the CPU.
    """

    step: int = 0
    loss: float = math.inf
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def update(self, step: int, loss: float, module: torch.nn.Module) -> None:
        """Take a module's trained weights if the loss is lower than the best; NaN never is."""
        if loss < self.loss:
            self.step, self.loss = step, loss
            self.weights = {
                name: parameter.detach().cpu().clone()
                for name, parameter in module.named_parameters()
                if parameter.requires_grad
            }

    def restore(self, module: torch.nn.Module) -> None:
        """Load the best weights into a module, if there are any."""
        module.load_state_dict(self.weights, strict=False)


class FineTuning(StepModule):
    """The loss of a step is the mean over the target tokens of the whole step."""

    strict_loading = False  # a checkpoint holds the adapter alone

    def __init__(
        self, model: Any, settings: TrainSettings, steps: Steps, seed: int, title: str
    ) -> None:
        super().__init__(len(steps))
        self.automatic_optimization = False
        self.model, self.settings, self.steps = model, settings, steps
        self.seed, self.title = seed, title
        self.asked = steps.micro_batch_size
        self.validation: list[tuple[int, float]] = []
        self.best = BestWeights()
        self.earlier_seconds = 0.0
        self.started = time.perf_counter()

    def training_step(self, step: int, index: int) -> torch.Tensor:
        optimizer = self.optimizers()

        def gradients(rows: int) -> torch.Tensor:
            optimizer.zero_grad()  # of an attempt that ran out of memory
            self.steps.micro_batch_size = rows
            return self._gradients(step)

        loss = halving(gradients, self.steps.micro_batch_size, self.title, LESS_MEMORY)
        if self.steps.ranks > 1:
            reduce_gradients(self.trainer.strategy, self.parameters(), loss)
        if self.settings.gradient_clip:
            self.clip_gradients(optimizer, self.settings.gradient_clip, "norm")
        optimizer.step()
        optimizer.zero_grad()
        self.lr_schedulers().step()
        self.record_loss(step, loss)
        return loss

    def _gradients(self, step: int) -> torch.Tensor:
        """Accumulate the gradients of a step; its loss."""
        # Dropout depends on seed and step alone, so that a resume needs no generator state.
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
            "best": dict(vars(self.best)),
            # Only if memory has lowered it: the setting itself may change before a resume.
            "fits": used if used < self.asked else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        progress = checkpoint["progress"]
        self.losses = [tuple(entry) for entry in progress["losses"]]
        self.validation = [tuple(entry) for entry in progress["validation"]]
        self.earlier_seconds = progress["seconds"]
        self.best = BestWeights(**progress["best"])
        self.steps.micro_batch_size = min(progress["fits"] or self.asked, self.asked)

    def cpu(self) -> FineTuning:
        # Lightning moves the module to the CPU at the end, which would copy weights that
        # other runs share.
        return self

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, including the time before a resume."""
        return self.earlier_seconds + time.perf_counter() - self.started


def without_frozen(module: torch.nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """A module's state dict without frozen weights and the constants of quantised ones."""
    # A state dict has tied weights under each of their names.
    own = {n for n, p in module.named_parameters(remove_duplicate=False) if p.requires_grad}
    own |= {n for n, _ in module.named_buffers(remove_duplicate=False)}
    return {name: value for name, value in state.items() if name in own}
