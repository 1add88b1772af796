"""Experts on hyperboloids of different curvature, computed together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from bench.models.helm.config import HelmConfig
from bench.models.helm.grouped import grouped_linear
from bench.models.helm.initial import start_column, xavier
from bench.models.helm.points import accurate, time_of


class CurvatureExperts(nn.Module):
    """SwiGLU experts; expert e works with `K_e = exp(log_curvature[e])`.

    A point comes to an expert by the factor `sqrt(K_e / K)` and goes back by its inverse, so that a
    curvature is a number for each row, and all experts share two grouped products.

    Args:
        config: of the model.
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
        """Draw the weights, and spread the curvatures."""
        config = self.config
        balanced = config.initialization == "balanced"
        width, inner = config.hidden_size, config.moe_intermediate_size
        for name, bound in (
            ("gate_up", xavier(width + 1, inner)),
            ("down", xavier(inner + 1, width)),
        ):
            init.uniform_(getattr(self, f"{name}_proj"), -bound, bound)
            start_column(getattr(self, f"{name}_time"), bound, balanced)
            init.zeros_(getattr(self, f"{name}_bias"))
        spread = torch.linspace(*config.expert_curvatures, config.n_routed_experts)
        init.copy_(self.log_curvature, spread.log())

    def curvatures(self) -> Tensor:
        """K of each expert, `(experts,)`, in float32 at least."""
        return self.log_curvature.to(accurate(self.log_curvature.dtype)).exp()

    def forward(self, space: Tensor, time: Tensor, chosen: Tensor) -> Tensor:
        """What the chosen experts make of each token.

        Args:
            space: `(tokens, hidden_size)`, the normed stream.
            time: `(tokens, 1)`, its time.
            chosen: `(tokens, k)`, the experts of each token.

        Returns:
            `(tokens, k, hidden_size)`, space coordinates, on the stream's hyperboloid.
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
        places = torch.arange(len(order), device=order.device)
        back = torch.empty_like(order).scatter_(0, order, places)
        return out.index_select(0, back).view(*chosen.shape, -1)


def _add(out: Tensor, member: Tensor, time: Tensor, columns: Tensor, biases: Tensor) -> Tensor:
    """The time columns and biases of all experts: one thin product, in place of rows gathered."""
    left = torch.cat([member * time, member], dim=-1).to(out.dtype)
    return torch.addmm(out, left, torch.cat([columns, biases]).to(out.dtype))
