"""Which experts a token is sent to, and how the load is kept even."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from bench.models.helm.config import HelmConfig
from bench.models.helm.initial import xavier


@dataclass
class Routing:
    """What a router did in its last forward pass.

    Attributes:
        counts: tokens sent to each expert, `(experts,)`.
        probabilities: mean over tokens of each expert's share of the scores, `(experts,)`.
        entropy: mean over tokens of the entropy of these shares, in nats, a scalar.
    """

    counts: Tensor
    probabilities: Tensor
    entropy: Tensor


class Router(nn.Module):
    """Chooses experts by the space coordinates of a token.

    A bias decides on the choice alone, not on the weights of the chosen; `move_bias` moves it
    against the load since the last call.

    Args:
        config: of the model.
    """

    def __init__(self, config: HelmConfig) -> None:
        super().__init__()
        self.config = config
        experts = config.n_routed_experts
        self.weight = nn.Parameter(torch.empty(experts, config.hidden_size))
        self.e_score_correction_bias = nn.Buffer(torch.zeros(experts))
        # No buffer: what came since the last step is no part of a model.
        self._load: Tensor | None = None
        self.last: Routing | None = None

    def initialize(self) -> None:
        """Draw the weights."""
        bound = xavier(*reversed(self.weight.shape), gain=1.0)
        init.uniform_(self.weight, -bound, bound)
        init.zeros_(self.e_score_correction_bias)

    def forward(self, space: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Choose for each token.

        Args:
            space: `(tokens, hidden_size)`, the normed stream.
            valid: `(tokens,)`, 0 for padding, which counts for no load; None where there is none.

        Returns:
            Chosen experts in ascending order, `(tokens, k)`; their weights, `(tokens, k)`, in
            float32 at least; and the balance loss, a scalar.
        """
        config = self.config
        with torch.autocast(space.device.type, enabled=False):
            wide = torch.promote_types(space.dtype, torch.float32)
            logits = F.linear(space.to(wide), self.weight.to(wide))
        softmax = config.router_scores == "softmax"
        scores = logits.softmax(dim=-1) if softmax else logits.sigmoid()
        chosen = self._choose(scores.detach())
        weights = scores.gather(1, chosen)
        if not softmax:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        weights = weights * config.routed_scaling_factor
        return chosen, weights, self._balance(scores, chosen, valid)

    def _choose(self, scores: Tensor) -> Tensor:
        config = self.config
        wanted = scores + self.e_score_correction_bias
        if config.n_group > 1:
            groups = wanted.unflatten(-1, (config.n_group, -1))
            best = groups.topk(min(2, groups.shape[-1]), dim=-1).values.sum(-1)
            kept = torch.zeros_like(best, dtype=torch.bool)
            kept.scatter_(1, best.topk(config.topk_group, dim=-1).indices, True)
            wanted = groups.masked_fill(~kept.unsqueeze(-1), -math.inf).flatten(-2)
        return wanted.topk(config.num_experts_per_tok, dim=-1).indices.sort(dim=-1).values

    def _balance(self, scores: Tensor, chosen: Tensor, valid: Tensor | None) -> Tensor:
        experts = scores.shape[-1]
        weight = torch.ones_like(scores[:, :1]) if valid is None else valid.to(scores).unsqueeze(-1)
        total = weight.sum()
        hits = (chosen.unsqueeze(-1) == torch.arange(experts, device=chosen.device)).sum(1)
        counts = (hits * weight).sum(0)
        shares = scores / scores.sum(dim=-1, keepdim=True)
        mean = (shares * weight).sum(0) / total
        with torch.no_grad():
            entropy = -(torch.xlogy(shares, shares) * weight).sum() / total
            self.last = Routing(counts.detach(), mean.detach(), entropy)
            if self.training:
                self._load = counts if self._load is None else self._load + counts
        of_even = counts * experts / (chosen.shape[-1] * total)
        return self.config.balance_loss * (of_even * mean).sum()

    @torch.no_grad()
    def move_bias(self) -> None:
        """Move the bias towards experts with less than an even load; once an optimiser step.

        Loads of all processes count where torch.distributed is at work.
        """
        if self._load is None:
            return
        load = self._load
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(load)
        bias = self.e_score_correction_bias
        bias += self.config.balance_bias * (1 / load.numel() - load / load.sum()).to(bias)
        self._load = None
