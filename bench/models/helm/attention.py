"""Attention of HELM-D."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers import initialization as init

from bench.models.helm.attend import attend
from bench.models.helm.config import HelmConfig
from bench.models.helm.linear import init_column, init_linear, on_point
from bench.models.helm.rotary import rotate


class LorentzAttention(nn.Module):
    """Multi-head attention in which queries, keys and values of each head are points.

    The cache holds the space coordinates of keys and values, `2 heads * head_dim` numbers per
    token. Heads are concatenated with their times; the result is no point.
    """

    def __init__(self, config: HelmConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        assert config.head_dim is not None
        self.head_dim = config.head_dim
        width = config.num_attention_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width)
        self.k_proj = nn.Linear(config.hidden_size, width)
        self.v_proj = nn.Linear(config.hidden_size, width)
        self.q_time = nn.Parameter(torch.empty(width))
        self.k_time = nn.Parameter(torch.empty(width))
        self.v_time = nn.Parameter(torch.empty(width))
        self.o_proj = nn.Linear(width + config.num_attention_heads, config.hidden_size)
        self.temperature = nn.Parameter(torch.empty(1))

    def initialize(self) -> None:
        """Draw the weights."""
        balanced = self.config.initialization == "balanced"
        bound = 1 / math.sqrt(self.config.hidden_size + 1)
        for name in ("q", "k", "v"):
            linear, column = getattr(self, f"{name}_proj"), getattr(self, f"{name}_time")
            init_linear(linear, column, bound, bound, balanced)
        width = self.o_proj.in_features
        init_output(self.o_proj, self.head_dim, 1 / math.sqrt(width), balanced)
        init.uniform_(self.o_proj.bias, -bound, bound)
        init.constant_(self.temperature, math.sqrt(width))

    def forward(
        self,
        space: Tensor,
        time: Tensor,
        table: Tensor,
        mask: Tensor | None = None,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """The branch's space coordinates, `(batch, tokens, hidden_size)`.

        Args:
            space: `(batch, tokens, hidden_size)`, the normed stream.
            time: `(batch, tokens, 1)`, its time.
            table: Rotations of the positions, from `HopeTable`.
            mask: As in `attend`.
            past_key_values: Keys and values of earlier tokens; updated in place.
        """
        shape = (*space.shape[:-1], -1, self.head_dim)
        q = rotate(on_point(self.q_proj, space, time, self.q_time).view(shape), table)
        k = rotate(on_point(self.k_proj, space, time, self.k_time).view(shape), table)
        v = on_point(self.v_proj, space, time, self.v_time).view(shape)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        config = self.config
        heads = attend(q, k, v, self.temperature, config.curvature, mask, config.float32_attention)
        return self.o_proj(heads)


def init_output(linear: nn.Linear, head_dim: int, bound: float, balanced: bool) -> None:
    """Draw the weights on concatenated heads; the first column of each head is its time's."""
    if getattr(linear.weight, "_is_hf_initialized", False):
        return  # loaded from a checkpoint, of which a slice has no mark
    init.uniform_(linear.weight, -bound, bound)
    if balanced:
        init_column(linear.weight.data.unflatten(1, (-1, head_dim + 1))[:, :, 0], bound, balanced)
