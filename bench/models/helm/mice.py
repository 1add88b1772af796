"""The layer of experts: a router, experts of different curvature, a shared one, and their merge."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import initialization as init

from bench.models.helm.config import HelmConfig
from bench.models.helm.experts import CurvatureExperts
from bench.models.helm.feed_forward import LorentzFeedForward
from bench.models.helm.points import at_least_float32, row_dot, time_of
from bench.models.helm.residual import residual
from bench.models.helm.router import Router


class Merge(nn.Module):
    """Merges the points of routed experts and of the shared expert into one.

    `helm`, as in the public code: starting from the origin, the chosen experts are added in the
    order of their indices by residuals with gain 2 and the router's weights; the result is added to
    the shared expert by a residual with learned weight and gain. It depends on the order.
    `centroid`, as in the paper: one weighted Lorentz centroid, with the router's weights
    normalised.
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
        """Merge points given by their space coordinates.

        Those of the shared expert `(tokens, n)` and of the routed ones `(tokens, k, n)`, in
        ascending order, with the router's weights `(tokens, k)`.
        """
        K = self.config.curvature
        gain = self.log_gain.to(at_least_float32(shared.dtype)).exp()
        if self.config.merge == "helm":
            merged, two = torch.zeros_like(shared), torch.full_like(gain, 2.0).detach()
            for j in range(routed.shape[1]):
                merged = residual(merged, routed[:, j], weights[:, j : j + 1], two, K)
            return residual(shared, merged, self.weight, gain, K)
        share = self.weight.to(weights) * weights / weights.sum(dim=-1, keepdim=True)
        space = shared + (share.to(routed.dtype).unsqueeze(1) @ routed).squeeze(1)
        time = time_of(shared, K) + (share.unsqueeze(-1) * time_of(routed, K)).sum(1)
        # The weights add up to 1 + w, so that -<a, a> >= K (1 + w)^2.
        floor = K * (1 + self.weight.to(weights)).square().clamp_min(1e-6)
        n = torch.maximum(time.square() - row_dot(space, space), floor)
        return space * (gain * math.sqrt(K) * n.rsqrt()).to(space.dtype)


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

        The normed stream is `(batch, tokens, hidden_size)`, its time `(batch, tokens, 1)`, `valid`
        `(batch, tokens)`, 0 for padding.
        """
        flat, flat_time = space.flatten(0, -2), time.flatten(0, -2)
        chosen, weights, balance = self.gate(flat, None if valid is None else valid.flatten())
        routed = self.experts(flat, flat_time, chosen)
        shared = self.shared_experts(flat, flat_time)
        return self.merge(shared, routed, weights).view(space.shape), balance
