"""The adapter weights at the lowest validation loss of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch


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
