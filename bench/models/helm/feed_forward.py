"""The feed-forward layer: SwiGLU on space coordinates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.helm.config import HelmConfig
from bench.models.helm.initial import start, xavier
from bench.models.helm.linear import on_point
from bench.models.helm.points import time_of


class LorentzFeedForward(nn.Module):
    """`down(silu(gate x) * up x)`, the inner product of the two lifted to a point.

    Args:
        config: of the model.
        inner: space coordinates of the inner point.
    """

    def __init__(self, config: HelmConfig, inner: int) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.gate_proj = nn.Linear(width, inner)
        self.up_proj = nn.Linear(width, inner)
        self.down_proj = nn.Linear(inner, width)
        self.gate_time = nn.Parameter(torch.empty(inner))
        self.up_time = nn.Parameter(torch.empty(inner))
        self.down_time = nn.Parameter(torch.empty(width))

    def initialize(self) -> None:
        """Draw the weights."""
        balanced = self.config.initialization == "balanced"
        for name in ("gate", "up", "down"):
            linear, column = getattr(self, f"{name}_proj"), getattr(self, f"{name}_time")
            bound = xavier(linear.in_features + 1, linear.out_features)
            start(linear, column, bound, 0.0, balanced)

    def forward(self, space: Tensor, time: Tensor) -> Tensor:
        """The branch's space coordinates.

        Args:
            space: `(..., hidden_size)`, the normed stream.
            time: `(..., 1)`, its time.
        """
        gate = on_point(self.gate_proj, space, time, self.gate_time)
        inner = F.silu(gate) * on_point(self.up_proj, space, time, self.up_time)
        return on_point(
            self.down_proj, inner, time_of(inner, self.config.curvature), self.down_time
        )
