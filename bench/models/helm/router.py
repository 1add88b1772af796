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
        # No buffers: what came since the last step is no part of a model.
        self._load: Tensor | None = None
        self._seen: tuple[Tensor, Tensor, Tensor | None] | None = None

    def initialize(self) -> None:
        """Draw the weights."""
        experts, width = self.weight.shape
        bound = xavier(width, experts, gain=1.0)
        init.uniform_(self.weight, -bound, bound)
        init.zeros_(self.e_score_correction_bias)

    def forward(
        self, space: Tensor, valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Choose for each token.

        Args:
            space: `(tokens, hidden_size)`, the normed stream.
            valid: `(tokens,)`, 0 for padding, which counts for no load; None where there is none.

        Returns:
            Chosen experts in ascending order, `(tokens, k)`; their weights, `(tokens, k)`, in
            float32 at least; and in training the balance loss, a scalar.
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
        self._seen = (scores.detach(), chosen, valid)
        return chosen, weights, self.balance(scores, chosen, valid) if self.training else None

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

    def balance(self, scores: Tensor, chosen: Tensor, valid: Tensor | None) -> Tensor:
        """The balance loss of a choice, whose load counts for the next step of the bias.

        `alpha sum_e (count_e E / (k N)) mean_n(p_ne)`, p a token's shares of its scores; the counts
        have no gradient.

        Args:
            scores: `(tokens, experts)`.
            chosen: `(tokens, k)`.
            valid: as of `forward`.
        """
        counts, shares, weight = _load(scores, chosen, valid)
        self._load = counts if self._load is None else self._load + counts
        total = weight.sum()
        of_even = counts * scores.shape[-1] / (chosen.shape[-1] * total)
        return self.config.balance_loss * (of_even * (shares * weight).sum(0)).sum() / total

    @torch.no_grad()
    def routing(self) -> Routing | None:
        """What was done in the last forward pass; None before one."""
        if self._seen is None:
            return None
        counts, shares, weight = _load(*self._seen)
        total = weight.sum()
        entropy = -(torch.xlogy(shares, shares) * weight).sum() / total
        return Routing(counts, (shares * weight).sum(0) / total, entropy)

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
        bias.add_((1 / load.numel() - load / load.sum()).to(bias), alpha=self.config.balance_bias)
        self._load = None


def _load(scores: Tensor, chosen: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens of each expert, `(experts,)`; shares of the scores; a 1 for each token that counts."""
    weight = torch.ones_like(scores[:, :1]) if valid is None else valid.to(scores).unsqueeze(-1)
    hits = chosen.unsqueeze(-1) == torch.arange(scores.shape[-1], device=chosen.device)
    counts = (hits.sum(1) * weight.detach()).sum(0)
    return counts, scores / scores.sum(dim=-1, keepdim=True), weight
