"""The layer of experts: a router, experts of several curvatures, a shared one, and their merge."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import initialization as init

from bench.models.helm.config import HelmConfig
from bench.models.helm.experts import CurvatureExperts
from bench.models.helm.feed_forward import LorentzFeedForward
from bench.models.helm.points import accurate, row_dot, time_of
from bench.models.helm.residual import residual
from bench.models.helm.router import Router


class Merge(nn.Module):
    """Routed experts and the shared one become one point.

    With `helm`, the chosen experts are added to the origin one after the other, in the order of
    their numbers, each by a residual of gain 2 whose weight is the router's; the sum is added to
    the shared expert by a residual with a learned weight and gain. This is what the public code
    does, and it depends on the order. With `centroid`, it is one weighted Lorentz centroid, the
    router's weights adding up to 1, as the paper writes.

    Args:
        config: of the model.
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
        """Merge, all by space coordinates.

        Args:
            shared: `(tokens, n)`.
            routed: `(tokens, k, n)`, experts in ascending order.
            weights: `(tokens, k)`, of the router.

        Returns:
            `(tokens, n)`.
        """
        K = self.config.curvature
        gain = self.log_gain.to(accurate(shared.dtype)).exp()
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
    """MiCE: each token goes to some routed experts and to the shared one.

    Args:
        config: of the model.
    """

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

        Args:
            space: `(batch, tokens, hidden_size)`, the normed stream.
            time: `(batch, tokens, 1)`, its time.
            valid: `(batch, tokens)`, 0 for padding.
        """
        flat, flat_time = space.flatten(0, -2), time.flatten(0, -2)
        chosen, weights, balance = self.gate(flat, None if valid is None else valid.flatten())
        routed = self.experts(flat, flat_time, chosen)
        shared = self.shared_experts(flat, flat_time)
        return self.merge(shared, routed, weights).view(space.shape), balance
