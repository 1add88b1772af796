"""The feed-forward layer: SwiGLU on space coordinates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.helm.config import HelmConfig
from bench.models.helm.linear import init_linear, on_point, xavier
from bench.models.helm.points import time_of


class LorentzFeedForward(nn.Module):
    """`down(silu(gate(x)) * up(x))`; the product is a point with `inner` space coordinates."""

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
            init_linear(linear, column, bound, 0.0, balanced)

    def forward(self, space: Tensor, time: Tensor) -> Tensor:
        """Space coordinates `(..., hidden_size)`, of the normed stream and its time `(..., 1)`."""
        gate = on_point(self.gate_proj, space, time, self.gate_time)
        inner = F.silu(gate) * on_point(self.up_proj, space, time, self.up_time)
        inner_time = time_of(inner, self.config.curvature)
        return on_point(self.down_proj, inner, inner_time, self.down_time)
