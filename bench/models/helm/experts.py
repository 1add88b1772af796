"""Experts on hyperboloids of different curvature, computed together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from bench.models.helm.config import HelmConfig
from bench.models.helm.grouped import grouped_linear
from bench.models.helm.linear import init_column, xavier
from bench.models.helm.points import at_least_float32, time_of


class CurvatureExperts(nn.Module):
    """SwiGLU experts; expert e has the curvature parameter `K_e = exp(log_curvature[e])`.

    Points are scaled by `sqrt(K_e / K)` for an expert, and back after it: the curvature is a factor
    of each row, so that all experts share two grouped matrix products.
    """

    def __init__(self, config: HelmConfig) -> None:
        super().__init__()
        self.config = config
        experts, width = config.n_routed_experts, config.hidden_size
        inner = config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * inner, width))
        self.gate_up_time = nn.Parameter(torch.empty(experts, 2 * inner))
        self.gate_up_bias = nn.Parameter(torch.empty(experts, 2 * inner))
        self.down_proj = nn.Parameter(torch.empty(experts, width, inner))
        self.down_time = nn.Parameter(torch.empty(experts, width))
        self.down_bias = nn.Parameter(torch.empty(experts, width))
        self.log_curvature = nn.Parameter(
            torch.empty(experts), requires_grad=config.train_expert_curvatures
        )

    def initialize(self) -> None:
        """Draw the weights; the curvatures are evenly spaced."""
        config = self.config
        balanced = config.initialization == "balanced"
        width, inner = config.hidden_size, config.moe_intermediate_size
        for name, bound in (
            ("gate_up", xavier(width + 1, inner)),
            ("down", xavier(inner + 1, width)),
        ):
            init.uniform_(getattr(self, f"{name}_proj"), -bound, bound)
            init_column(getattr(self, f"{name}_time"), bound, balanced)
            init.zeros_(getattr(self, f"{name}_bias"))
        curvatures = torch.linspace(*config.expert_curvatures, config.n_routed_experts)
        init.copy_(self.log_curvature, curvatures.log())

    def curvatures(self) -> Tensor:
        """K of each expert, `(experts,)`, in float32 at least."""
        return self.log_curvature.to(at_least_float32(self.log_curvature.dtype)).exp()

    def forward(self, space: Tensor, time: Tensor, chosen: Tensor) -> Tensor:
        """Apply the chosen experts to each token.

        The normed stream `(tokens, hidden_size)`, its time `(tokens, 1)` and the indices of the
        experts `(tokens, k)` give `(tokens, k, hidden_size)`, on the stream's hyperboloid.
        """
        k = chosen.shape[-1]
        expert, order = chosen.flatten().sort(stable=True)
        token = order // k
        member = expert.unsqueeze(-1) == torch.arange(len(self.log_curvature), device=expert.device)
        offsets = member.sum(0).cumsum(0).to(torch.int32)
        member = member.to(time.dtype)
        curvature = member @ self.curvatures().unsqueeze(-1).to(time.dtype)
        scale = (curvature / self.config.curvature).sqrt()

        rows = space.index_select(0, token) * scale.to(space.dtype)
        rows_time = time.index_select(0, token) * scale
        inner = grouped_linear(rows, self.gate_up_proj, offsets)
        inner = _add(inner, member, rows_time, self.gate_up_time, self.gate_up_bias)
        gate, up = inner.chunk(2, dim=-1)
        inner = F.silu(gate) * up
        out = grouped_linear(inner, self.down_proj, offsets)
        out = _add(out, member, time_of(inner, curvature), self.down_time, self.down_bias)
        out = out / scale.to(out.dtype)
        positions = torch.arange(len(order), device=order.device)
        inverse = torch.empty_like(order).scatter_(0, order, positions)
        return out.index_select(0, inverse).view(*chosen.shape, -1)


def _add(out: Tensor, member: Tensor, time: Tensor, columns: Tensor, biases: Tensor) -> Tensor:
    """Add time columns and biases by one thin product instead of gathering them for each row."""
    left = torch.cat([member * time, member], dim=-1).to(out.dtype)
    return torch.addmm(out, left, torch.cat([columns, biases]).to(out.dtype))
