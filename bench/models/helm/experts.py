"""Experts on hyperboloids of different curvature, a shared expert, and their merge."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from bench.models.helm.config import HelmConfig
from bench.models.helm.layers import LorentzFeedForward, init_column, xavier
from bench.models.helm.points import at_least_float32, residual, row_dot, time_of
from bench.models.helm.router import Router


def grouped_linear(rows: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """`rows @ weight[e].T` with the expert e of each row.

    One kernel without a host sync on a GPU, if strides are multiples of 16 bytes; otherwise, and on
    a CPU, one product per expert, which reads the offsets on the host.

    `rows` are `(rows, inputs)`, sorted by expert; `weight` is `(experts, outputs, inputs)`;
    `offsets` are the ends of each expert's rows, int32. The dtype is that of weights or autocast.
    """
    device = rows.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    rows, weight = rows.to(dtype), weight.to(dtype)
    aligned = all(size * dtype.itemsize % 16 == 0 for size in weight.shape[1:])
    # The compiler knows the kernel for bfloat16 alone.
    known = dtype == torch.bfloat16 or not torch.compiler.is_compiling()
    if device == "cuda" and aligned and known and dtype.itemsize < 8:
        return F.grouped_mm(rows, weight.transpose(1, 2), offs=offsets)
    parts = rows.tensor_split(offsets[:-1].tolist())
    return torch.cat([F.linear(part, own) for part, own in zip(parts, weight, strict=True)])


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
        """Apply the experts with the indices `(tokens, k)` to the normed stream, `(tokens, n)`.

        The result is `(tokens, k, n)`, on the stream's hyperboloid.
        """
        k = chosen.shape[-1]
        expert, order = chosen.flatten().sort(stable=True)
        token = order // k
        member = expert.unsqueeze(-1) == torch.arange(len(self.log_curvature), device=expert.device)
        offsets = member.sum(0).cumsum(0).to(torch.int32)
        member = member.to(time.dtype)
        with torch.autocast(space.device.type, enabled=False):  # it would round K
            curvature = member @ self.curvatures().unsqueeze(-1).to(time.dtype)
        scale = (curvature / self.config.curvature).sqrt()

        rows = (space.index_select(0, token) * scale).to(space.dtype)
        rows_time = time.index_select(0, token) * scale
        inner = grouped_linear(rows, self.gate_up_proj, offsets)
        inner = _add(inner, member, rows_time, self.gate_up_time, self.gate_up_bias)
        gate, up = inner.chunk(2, dim=-1)
        inner = F.silu(gate) * up
        out = grouped_linear(inner, self.down_proj, offsets)
        out = _add(out, member, time_of(inner, curvature), self.down_time, self.down_bias)
        out = (out / scale).to(out.dtype)
        positions = torch.arange(len(order), device=order.device)
        inverse = torch.empty_like(order).scatter_(0, order, positions)
        return out.index_select(0, inverse).view(*chosen.shape, -1)


def _add(out: Tensor, member: Tensor, time: Tensor, columns: Tensor, biases: Tensor) -> Tensor:
    """Add time columns and biases by one thin product instead of gathering them for each row."""
    left = torch.cat([member * time, member], dim=-1).to(out.dtype)
    return torch.addmm(out, left, torch.cat([columns, biases]).to(out.dtype))


class Merge(nn.Module):
    """Merges the points of routed experts and of the shared expert into one.

    `helm`, as in the public code: the chosen experts are added to the origin in order by residuals
    with gain 2 and the router's weights, and the result to the shared expert by a learned residual.
    `centroid`, as in the paper: one weighted Lorentz centroid, with normalised weights.
    """

    def __init__(self, config: HelmConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(1))
        self.log_gain = nn.Parameter(torch.empty(1))

    def initialize(self) -> None:
        """Weight 1; gain 2 for `helm`, 1 for a plain centroid."""
        init.ones_(self.weight)
        init.constant_(self.log_gain, math.log(2) if self.config.merge == "helm" else 0.0)

    def forward(self, shared: Tensor, routed: Tensor, weights: Tensor) -> Tensor:
        """Merge points `(tokens, n)` and `(tokens, k, n)`, with the router's `(tokens, k)`."""
        K = self.config.curvature
        gain = self.log_gain.to(at_least_float32(shared.dtype)).exp()
        if self.config.merge == "helm":
            merged, two = torch.zeros_like(shared), torch.full_like(gain, 2.0).detach()
            for j in range(routed.shape[1]):
                merged = residual(merged, routed[:, j], weights[:, j : j + 1], two, K)
            return residual(shared, merged, self.weight, gain, K)
        share = self.weight.to(weights) * weights / weights.sum(dim=-1, keepdim=True)
        # Space and time must be rounded alike, or their squares do not cancel.
        with torch.autocast(shared.device.type, enabled=False):
            space = shared + (share.unsqueeze(1) @ routed.to(share.dtype)).squeeze(1)
        time = time_of(shared, K) + (share.unsqueeze(-1) * time_of(routed, K)).sum(1)
        # The weights add up to 1 + w, so that -<a, a> >= K (1 + w)^2.
        floor = K * (1 + self.weight.to(weights)).square().clamp_min(1e-6)
        n = torch.maximum(time.square() - row_dot(space, space), floor)
        return (space * (gain * math.sqrt(K) * n.rsqrt()).to(space.dtype)).to(shared.dtype)


class MixtureOfCurvatureExperts(nn.Module):
    """MiCE: each token is processed by some routed experts and by the shared one."""

    def __init__(self, config: HelmConfig) -> None:
        super().__init__()
        self.gate = Router(config)
        self.experts = CurvatureExperts(config)
        width = config.n_shared_experts * (config.moe_intermediate_size + 1) - 1
        self.shared_experts = LorentzFeedForward(config, width)
        self.merge = Merge(config)

    def forward(
        self, space: Tensor, time: Tensor, valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The branch's space coordinates, and in training the balance loss.

        `valid` is `(batch, tokens)`, 0 for padding.
        """
        flat, flat_time = space.flatten(0, -2), time.flatten(0, -2)
        chosen, weights, balance = self.gate(flat, None if valid is None else valid.flatten())
        routed = self.experts(flat, flat_time, chosen)
        shared = self.shared_experts(flat, flat_time)
        return self.merge(shared, routed, weights).view(space.shape), balance
