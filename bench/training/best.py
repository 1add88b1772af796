"""The adapter at the lowest validation loss of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Best:
    """The best adapter so far; a part of the state for a resume, so saved with it or not at all.

    Attributes:
        step: after which it was taken; 0 for none yet.
        loss: the validation loss there.
        weights: what was trained, by name, in main memory.
    """

    step: int = 0
    loss: float = math.inf
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def offer(self, step: int, loss: float, module: torch.nn.Module) -> None:
        """Take a module's trained weights if their loss is below the best; NaN never is."""
        if loss < self.loss:
            self.step, self.loss = step, loss
            self.weights = {
                name: parameter.detach().cpu().clone()
                for name, parameter in module.named_parameters()
                if parameter.requires_grad
            }

    def put_back(self, module: torch.nn.Module) -> None:
        """Give a module the weights that were taken, if there are any."""
        module.load_state_dict(self.weights, strict=False)

    def state(self) -> dict[str, Any]:
        """What it is made from again."""
        return {"step": self.step, "loss": self.loss, "weights": self.weights}
