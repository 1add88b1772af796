"""Attention of HELM-D, and the latent attention of HELM-MiCE."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers import initialization as init

from bench.models.helm.attend import attend, centroid_of_mean, masked_softmax
from bench.models.helm.config import HelmConfig
from bench.models.helm.layers import init_column, init_linear, on_point, xavier
from bench.models.helm.points import SpaceRMSNorm, at_least_float32, time_of
from bench.models.helm.rotary import rotate


class LorentzAttention(nn.Module):
    """Multi-head attention in which queries, keys and values of each head are points.

    The cache holds the space coordinates of keys and values, `2 heads * head_dim` numbers per
    token. Heads are concatenated with their times; the result is no point.
    """

    def __init__(self, config: HelmConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
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


class LorentzLatentAttention(nn.Module):
    """HMLA, with DeepSeek-V3's names of layers.

    Per token the cache holds the latent, the rotated part of the key, and the times of each head's
    key and value: `kv_lora_rank + qk_rope_head_dim + 2 heads` numbers. All but the times is linear
    in the latent, so that cached tokens are scored without computing their keys and values again.
    """

    def __init__(self, config: HelmConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        heads, latent = config.num_attention_heads, config.kv_lora_rank
        queries, compressed = heads * config.qk_head_dim, latent + config.qk_rope_head_dim
        expanded = heads * (config.qk_nope_head_dim + config.v_head_dim)
        self.q_proj = nn.Linear(config.hidden_size, queries)
        self.q_time = nn.Parameter(torch.empty(queries))
        self.kv_a_proj_with_mqa = nn.Linear(config.hidden_size, compressed)
        self.kv_a_time = nn.Parameter(torch.empty(compressed))
        self.kv_a_layernorm = SpaceRMSNorm(latent, config.rms_norm_eps)
        self.kv_b_proj = nn.Linear(latent, expanded)
        self.kv_b_time = nn.Parameter(torch.empty(expanded))
        self.o_proj = nn.Linear(heads * (config.v_head_dim + 1), config.hidden_size)
        self.temperature = nn.Parameter(torch.empty(1))

    def initialize(self) -> None:
        """Draw the weights."""
        config = self.config
        balanced = config.initialization == "balanced"
        for linear, column in (
            (self.q_proj, self.q_time),
            (self.kv_a_proj_with_mqa, self.kv_a_time),
            (self.kv_b_proj, self.kv_b_time),
        ):
            bound = xavier(linear.in_features + 1, linear.out_features)
            init_linear(linear, column, bound, 0.0, balanced)
        bound = xavier(self.o_proj.in_features, self.o_proj.out_features)
        init_output(self.o_proj, config.v_head_dim, bound, balanced)
        init.zeros_(self.o_proj.bias)
        width = config.num_attention_heads * (config.qk_head_dim + 1)
        init.constant_(self.temperature, math.sqrt(width))

    def forward(
        self,
        space: Tensor,
        time: Tensor,
        table: Tensor,
        mask: Tensor | None = None,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """The branch's space coordinates; arguments as in `LorentzAttention`."""
        config, K = self.config, self.config.curvature
        parts = [config.kv_lora_rank, config.qk_rope_head_dim]
        q = on_point(self.q_proj, space, time, self.q_time)
        q = q.view(*space.shape[:-1], -1, config.qk_head_dim)
        q_nope, q_rope = q.split([config.qk_nope_head_dim, config.qk_rope_head_dim], dim=-1)
        q = torch.cat([q_nope, rotate(q_rope, table)], dim=-1).transpose(1, 2)
        compressed = on_point(self.kv_a_proj_with_mqa, space, time, self.kv_a_time)
        latent, k_rope = compressed.split(parts, dim=-1)
        latent, k_rope = self.kv_a_layernorm(latent), rotate(k_rope.unsqueeze(2), table).squeeze(2)
        k, v = self._expanded(latent, k_rope)
        if past_key_values is None:
            return self._attend(q, k, v, mask)
        earlier = past_key_values.get_seq_length(self.layer_idx)
        times = torch.cat([time_of(k, K), time_of(v, K)], dim=1).permute(0, 3, 2, 1)
        cached, times = past_key_values.update(
            torch.cat([latent, k_rope], dim=-1).unsqueeze(1), times, self.layer_idx
        )
        if not earlier:
            return self._attend(q, k, v, mask)
        if type(self.kv_b_proj) is nn.Linear:
            return self._absorbed(q, cached.squeeze(1), times.squeeze(1), mask)
        # The layer is wrapped by an adapter, which its weights do not include.
        return self._attend(q, *self._expanded(*cached.squeeze(1).split(parts, dim=-1)), mask)

    def _expanded(self, latent: Tensor, k_rope: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of latents, `(batch, heads, tokens, ...)`."""
        config = self.config
        expanded = on_point(
            self.kv_b_proj, latent, time_of(latent, config.curvature), self.kv_b_time
        ).view(*latent.shape[:-1], config.num_attention_heads, -1)
        k_nope, v = expanded.split([config.qk_nope_head_dim, config.v_head_dim], dim=-1)
        shared = k_rope.unsqueeze(2).expand(-1, -1, config.num_attention_heads, -1)
        return torch.cat([k_nope, shared], dim=-1).transpose(1, 2), v.transpose(1, 2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        config = self.config
        heads = attend(q, k, v, self.temperature, config.curvature, mask, config.float32_attention)
        return self.o_proj(heads)

    def _absorbed(self, q: Tensor, cached: Tensor, times: Tensor, mask: Tensor | None) -> Tensor:
        """Attention over cached latents, with `kv_b_proj` applied to the query and to the mean.

        In float32 at least, since products nearly cancel. Latents with rotated keys are `(batch,
        keys, kv_lora_rank + qk_rope_head_dim)`, times of keys and values `(batch, keys, 2 heads)`.
        """
        config, heads, queries = self.config, q.shape[1], q.shape[2]
        K, rank, nope = config.curvature, config.kv_lora_rank, config.qk_nope_head_dim
        dtype, wide = q.dtype, at_least_float32(q.dtype)
        q, cached, times = q.to(wide), cached.to(wide), times.to(wide)
        weight = self.kv_b_proj.weight.to(wide).view(heads, -1, rank)
        column = self.kv_b_time.to(wide).view(heads, -1, 1)
        bias = self.kv_b_proj.bias.to(wide).view(heads, 1, -1)
        latent, q_nope, q_rope = cached[..., :rank], q[..., :nope], q[..., nope:]
        latent_time = time_of(latent, K).transpose(1, 2).unsqueeze(1)  # (batch, 1, 1, keys)
        # (batch, heads, 1, keys) each
        k_time, v_time = times.transpose(1, 2).unsqueeze(2).chunk(2, dim=1)
        with torch.autocast(q.device.type, enabled=False):
            # The bias of keys is constant over the keys and cancels in the softmax.
            query = torch.cat([q_nope @ weight[:, :nope], q_rope], dim=-1).flatten(1, 2)
            scores = (query @ cached.transpose(1, 2)).unflatten(1, (heads, queries))
            scores = scores + (q_nope @ column[:, :nope]) * latent_time - time_of(q, K) * k_time
            weights = masked_softmax(scores * (2 / self.temperature), mask)
            mean = (weights.flatten(1, 2) @ latent).unflatten(1, (heads, queries))
            mean_time = (weights * latent_time).sum(-1, keepdim=True)
            space = mean @ weight[:, nope:].mT + mean_time * column[:, nope:].mT + bias[..., nope:]
            points = centroid_of_mean(space, (weights * v_time).sum(-1, keepdim=True), K)
        return self.o_proj(points.transpose(1, 2).flatten(-2).to(dtype))
