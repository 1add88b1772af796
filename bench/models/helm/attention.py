"""Attention of HELM-D."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers import initialization as init

from bench.models.helm.attend import attend
from bench.models.helm.config import HelmConfig
from bench.models.helm.initial import start, start_column
from bench.models.helm.linear import on_point
from bench.models.helm.rotary import rotate


class LorentzAttention(nn.Module):
    """Every head has points of its own for query, key and value.

    The cache holds keys and values by their space coordinates, `2 heads * head_dim` numbers for
    each token. Heads are joined with their times; the joined numbers are no point.

    Args:
        config: of the model.
        layer_idx: where the layer's keys and values are in a cache.
    """

    def __init__(self, config: HelmConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        assert config.head_dim is not None
        self.head_dim = config.head_dim
        joined = config.num_attention_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, joined)
        self.k_proj = nn.Linear(config.hidden_size, joined)
        self.v_proj = nn.Linear(config.hidden_size, joined)
        self.q_time = nn.Parameter(torch.empty(joined))
        self.k_time = nn.Parameter(torch.empty(joined))
        self.v_time = nn.Parameter(torch.empty(joined))
        self.o_proj = nn.Linear(joined + config.num_attention_heads, config.hidden_size)
        self.temperature = nn.Parameter(torch.empty(1))

    def initialize(self) -> None:
        """Draw the weights."""
        config = self.config
        balanced = config.initialization == "balanced"
        bound = 1 / math.sqrt(config.hidden_size + 1)
        for name in ("q", "k", "v"):
            linear, column = getattr(self, f"{name}_proj"), getattr(self, f"{name}_time")
            start(linear, column, bound, bound, balanced)
        start_output(self.o_proj, self.head_dim, 1 / math.sqrt(self.o_proj.in_features), balanced)
        init.uniform_(self.o_proj.bias, -bound, bound)
        width = config.num_attention_heads * (self.head_dim + 1)
        init.constant_(self.temperature, math.sqrt(width))

    def forward(
        self,
        space: Tensor,
        time: Tensor,
        table: Tensor,
        mask: Tensor | None = None,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """The branch's space coordinates.

        Args:
            space: `(batch, tokens, hidden_size)`, the normed stream.
            time: `(batch, tokens, 1)`, its time.
            table: rotations of the tokens' positions.
            mask: as of `attend`.
            past_key_values: keys and values of earlier tokens, to be added to.
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


def start_output(linear: nn.Linear, width: int, bound: float, balanced: bool) -> None:
    """Draw the weights on joined heads; of each head's `width + 1` columns the first is the time's.

    Args:
        linear: the layer behind the heads.
        width: space coordinates of a head.
        bound: of the weights.
        balanced: whether the heads' time columns start at 0.
    """
    if getattr(linear.weight, "_is_hf_initialized", False):
        return  # a slice does not carry the mark of a weight that a checkpoint has filled
    init.uniform_(linear.weight, -bound, bound)
    if balanced:
        start_column(linear.weight.data.unflatten(1, (-1, width + 1))[:, :, 0], bound, balanced)
