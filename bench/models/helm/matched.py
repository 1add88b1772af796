"""Twins that start like their HELM: its distributions of the weights, its biases, its norms' eps.

The difference between such a twin and the plain one has nothing to do with HELM's geometry. Parts
without a counterpart in LLaMA and DeepSeek-V3 stay as they are there: the residuals, the projection
before the head, the learned temperature of attention, and DeepSeek-V3's router scores.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3Experts,
    DeepseekV3TopkRouter,
)

from bench.models.helm.config import HelmConfig
from bench.models.helm.layers import xavier

KEY = "initial_weights"  # of a twin's configuration
HELM = "helm"


def matched_options(config: HelmConfig) -> dict[str, Any]:
    """The options of a twin that starts like the HELM of this configuration."""
    return {
        KEY: HELM,
        "initializer_range": config.initializer_range,
        "rms_norm_eps": config.rms_norm_eps,
        "attention_bias": True,
    } | ({"mlp_bias": True} if config.kind == "helm_d" else {})


def starts_like_helm(config: Any) -> bool:
    """Whether `draw_like_helm` draws the weights of a model of this configuration."""
    return getattr(config, KEY, None) == HELM


@torch.no_grad()
def draw_like_helm(model: Any) -> None:
    """Draw a twin's weights from the distributions of its HELM's, and set its biases likewise.

    Inputs of a layer count one more for the time that the HELM's have.
    """
    dense = isinstance(model.config, LlamaConfig)
    width = model.config.hidden_size
    by_width = 1 / math.sqrt(width + 1)
    for name, module in model.named_modules():
        layer = name.rpartition(".")[2]
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=model.config.initializer_range)
        elif isinstance(module, DeepseekV3TopkRouter):
            _uniform(module.weight, xavier(width, len(module.weight), gain=1.0))
        elif isinstance(module, DeepseekV3Experts):
            inner = module.down_proj.shape[-1]
            _uniform(module.gate_up_proj, xavier(width + 1, inner))
            _uniform(module.down_proj, xavier(inner + 1, width))
        elif isinstance(module, nn.Linear):
            inputs, outputs = module.in_features, module.out_features
            bound, bias = xavier(inputs + 1, outputs), 0.0
            if layer == "lm_head":
                if model.config.tie_word_embeddings:
                    continue
                bound = by_width
            elif layer == "o_proj":  # a head of the twin includes the time of the HELM's
                bound = 1 / math.sqrt(inputs) if dense else xavier(inputs, outputs)
                bias = by_width if dense else 0.0
            elif dense and layer in ("q_proj", "k_proj", "v_proj"):
                bound = bias = by_width
            _uniform(module.weight, bound)
            if module.bias is not None:
                _uniform(module.bias, bias)


def _uniform(weights: torch.Tensor, bound: float) -> None:
    nn.init.uniform_(weights, -bound, bound)
