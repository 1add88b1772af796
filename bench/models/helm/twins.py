"""Euclidean models of transformers with as many parameters as a HELM, for comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DeepseekV3Config, LlamaConfig, PreTrainedConfig

from bench.models.helm.config import HelmConfig

_STEP = 8  # inner widths are multiples of this, for faster kernels
_SHARED = (
    "vocab_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "rope_parameters",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "tie_word_embeddings",
    "use_cache",
)


def parameters_of(config: PreTrainedConfig) -> int:
    """The number of parameters of a model, from its configuration; tied ones count once."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def _matched(build: Callable[[int], PreTrainedConfig], target: int) -> int:
    """The inner width for which a model is closest to a number of parameters."""
    low, high = (parameters_of(build(width)) for width in (_STEP, 2 * _STEP))
    steps = round((target - low) / (high - low))
    return _STEP * (1 + max(steps, 0))


def _shared(config: HelmConfig) -> dict[str, Any]:
    heads = config.num_attention_heads
    # Of the published width 390, the 389 space coordinates are no multiple of the heads.
    width = math.ceil(config.hidden_size / heads) * heads
    return {name: getattr(config, name) for name in _SHARED} | {"hidden_size": width}


def llama_twin(config: HelmConfig) -> LlamaConfig:
    """A LLaMA with as many parameters as a HELM-D, within 1%.

    Blocks, width and heads are the same; a head includes the HELM's time if that makes it even. The
    inner width compensates for time columns, biases and the projection before the head.
    """
    assert config.head_dim is not None
    head_dim = config.head_dim + config.head_dim % 2

    def build(inner: int) -> LlamaConfig:
        return LlamaConfig(head_dim=head_dim, intermediate_size=inner, **_shared(config))

    return build(_matched(build, parameters_of(config)))


def deepseek_twin(config: HelmConfig) -> DeepseekV3Config:
    """A DeepSeek-V3 with as many parameters as a HELM-MiCE, within 1%.

    Blocks, width, heads, latent and number of experts are the same; the router is DeepSeek's, with
    normalised sigmoid scores. Head dimensions include the HELM's time if that makes them even. The
    width of the experts, then that of the dense blocks, compensates for the rest.
    """

    def build(expert: int, inner: int) -> DeepseekV3Config:
        return DeepseekV3Config(
            num_key_value_heads=config.num_attention_heads,
            intermediate_size=inner,
            moe_intermediate_size=expert,
            n_routed_experts=config.n_routed_experts,
            num_experts_per_tok=config.num_experts_per_tok,
            n_shared_experts=config.n_shared_experts,
            first_k_dense_replace=config.first_k_dense_replace,
            n_group=config.n_group,
            topk_group=config.topk_group,
            routed_scaling_factor=1.0,
            q_lora_rank=None,
            kv_lora_rank=config.kv_lora_rank,
            qk_nope_head_dim=config.qk_nope_head_dim + config.qk_nope_head_dim % 2,
            qk_rope_head_dim=config.qk_rope_head_dim,
            v_head_dim=config.v_head_dim + config.v_head_dim % 2,
            num_mtp_layers=0,
            **_shared(config),
        )

    target, inner = parameters_of(config), config.intermediate_size
    expert = config.moe_intermediate_size
    if config.first_k_dense_replace < config.num_hidden_layers:
        expert = _matched(lambda width: build(width, inner), target)
    if config.first_k_dense_replace:
        inner = _matched(lambda width: build(expert, width), target)
    return build(expert, inner)
