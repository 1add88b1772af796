"""A transformer block of a HELM."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from bench.models.helm.attention import LorentzAttention
from bench.models.helm.config import HelmConfig
from bench.models.helm.feed_forward import LorentzFeedForward
from bench.models.helm.latent_attention import LorentzLatentAttention
from bench.models.helm.mice import MixtureOfCurvatureExperts
from bench.models.helm.points import SpaceRMSNorm, time_of
from bench.models.helm.residual import LorentzResidual


class HelmBlock(GradientCheckpointingLayer):
    """Attention, and a feed-forward layer or experts, each with a norm before it."""

    def __init__(self, config: HelmConfig, layer_idx: int) -> None:
        super().__init__()
        self.K = config.curvature
        width, eps, gain = config.hidden_size, config.rms_norm_eps, config.residual_gain
        assert gain is not None
        latent = config.kind == "helm_mice"
        self.has_experts = latent and layer_idx >= config.first_k_dense_replace
        attention = LorentzLatentAttention if latent else LorentzAttention
        self.self_attn = attention(config, layer_idx)
        if self.has_experts:
            self.mlp: nn.Module = MixtureOfCurvatureExperts(config)
        else:
            self.mlp = LorentzFeedForward(config, config.intermediate_size)
        self.input_layernorm = SpaceRMSNorm(width, eps)
        self.post_attention_layernorm = SpaceRMSNorm(width, eps)
        self.attention_residual = LorentzResidual(gain, self.K)
        self.mlp_residual = LorentzResidual(gain, self.K)

    def forward(
        self,
        stream: Tensor,
        table: Tensor,
        mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        valid: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """The stream `(batch, tokens, hidden_size)` after the block, and its balance loss, if any.

        Arguments as in `LorentzAttention`, and `valid` as in `MixtureOfCurvatureExperts`;
        transformers may pass others, which are ignored.
        """
        normed = self.input_layernorm(stream)
        branch = self.self_attn(normed, time_of(normed, self.K), table, mask, past_key_values)
        stream = self.attention_residual(stream, branch)
        normed = self.post_attention_layernorm(stream)
        time = time_of(normed, self.K)
        balance = None
        if self.has_experts:
            branch, balance = self.mlp(normed, time, valid)
        else:
            branch = self.mlp(normed, time)
        return self.mlp_residual(stream, branch), balance
