"""The router: the experts of each token, and load balancing."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from bench.models.helm.config import HelmConfig
from bench.models.helm.layers import xavier
from bench.models.helm.points import at_least_float32


class Router(nn.Module):
    """Chooses experts by the space coordinates of a token.

    A bias is added to the scores for the choice, not for the weights of the chosen experts.
    """

    def __init__(self, config: HelmConfig) -> None:
        super().__init__()
        self.config = config
        experts = config.n_routed_experts
        self.weight = nn.Parameter(torch.empty(experts, config.hidden_size))
        self.e_score_correction_bias = nn.Buffer(torch.zeros(experts))
        # Not a buffer: the tokens of each expert since the last step are no part of a model.
        self._load: Tensor | None = None

    def initialize(self) -> None:
        """Draw the weights."""
        experts, width = self.weight.shape
        bound = xavier(width, experts, gain=1.0)
        init.uniform_(self.weight, -bound, bound)
        init.zeros_(self.e_score_correction_bias)

    def forward(
        self, space: Tensor, valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Choose experts for each token of the normed stream, `(tokens, hidden_size)`.

        `valid` is 0 for padding, which is no load. Returns the chosen experts in ascending order,
        `(tokens, k)`; their weights, in float32 at least; and in training the balance loss.
        """
        config = self.config
        with torch.autocast(space.device.type, enabled=False):
            wide = at_least_float32(space.dtype)
            logits = F.linear(space.to(wide), self.weight.to(wide))
        softmax = config.router_scores == "softmax"
        scores = logits.softmax(dim=-1) if softmax else logits.sigmoid()
        chosen = self._choose(scores.detach())
        weights = scores.gather(1, chosen)
        if not softmax:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        weights = weights * config.routed_scaling_factor
        return chosen, weights, self.balance(scores, chosen, valid) if self.training else None

    def _choose(self, scores: Tensor) -> Tensor:
        config = self.config
        biased = scores + self.e_score_correction_bias
        if config.n_group > 1:
            groups = biased.unflatten(-1, (config.n_group, -1))
            best = groups.topk(min(2, groups.shape[-1]), dim=-1).values.sum(-1)
            kept = torch.zeros_like(best, dtype=torch.bool)
            kept.scatter_(1, best.topk(config.topk_group, dim=-1).indices, True)
            biased = groups.masked_fill(~kept.unsqueeze(-1), -math.inf).flatten(-2)
        return biased.topk(config.num_experts_per_tok, dim=-1).indices.sort(dim=-1).values

    def balance(self, scores: Tensor, chosen: Tensor, valid: Tensor | None) -> Tensor:
        """The balance loss of a choice; its load is added to that for `move_bias`.

        `alpha sum_e (count_e E / (k N)) mean_n(p_ne)` with the shares p of a token's scores
        `(tokens, experts)`; the counts have no gradient.
        """
        weight = torch.ones_like(scores[:, :1]) if valid is None else valid.to(scores).unsqueeze(-1)
        hits = chosen.unsqueeze(-1) == torch.arange(scores.shape[-1], device=chosen.device)
        counts = (hits.sum(1) * weight.detach()).sum(0)
        self._load = counts if self._load is None else self._load + counts
        shares = scores / scores.sum(dim=-1, keepdim=True)
        total = weight.sum()
        relative = counts * scores.shape[-1] / (chosen.shape[-1] * total)
        return self.config.balance_loss * (relative * (shares * weight).sum(0)).sum() / total

    def reset_load(self) -> None:
        """Forget the load since the last step."""
        self._load = None

    @torch.no_grad()
    def move_bias(self) -> None:
        """Move the bias towards underloaded experts, by the load of all processes.

        To be called once per optimiser step.
        """
        if self._load is None:
            return
        load = self._load
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(load)
        bias = self.e_score_correction_bias
        bias.add_((1 / load.numel() - load / load.sum()).to(bias), alpha=self.config.balance_bias)
        self.reset_load()
