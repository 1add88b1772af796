"""Euclidean models of transformers' own, as large as a HELM: what it has to be compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from transformers import AutoModelForCausalLM, DeepseekV3Config, LlamaConfig, PreTrainedConfig

from bench.models.helm.config import HelmConfig

# Inner widths are multiples of this, as matrix units like them.
_STEP = 8


def parameters_of(config: PreTrainedConfig) -> int:
    """How many parameters a model has, without making it; tied ones count once."""
    import torch

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def _matched(build: Callable[[int], PreTrainedConfig], target: int) -> int:
    """The inner width with which a model comes nearest to a number of parameters."""
    low, high = (parameters_of(build(width)) for width in (_STEP, 2 * _STEP))
    steps = round((target - low) / (high - low))
    return _STEP * (1 + max(steps, 0))


def _shared(config: HelmConfig) -> dict[str, Any]:
    """What a twin has in common with its HELM."""
    names = (
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
    heads = config.num_attention_heads
    # 389, a published width without its time, is no multiple of the heads; 390 is.
    width = math.ceil(config.hidden_size / heads) * heads
    return {name: getattr(config, name) for name in names} | {"hidden_size": width}


def llama_twin(config: HelmConfig) -> LlamaConfig:
    """A LLaMA with the parameters of a HELM-D, within a percent.

    Blocks, width and heads are the same. A head is as wide as the HELM's with its time, where that
    is even. What a HELM has beyond that (time columns, biases, the projection before the head) is
    made up for by the inner width.

    Args:
        config: of the HELM-D.
    """
    assert config.head_dim is not None
    head_dim = config.head_dim + config.head_dim % 2

    def build(inner: int) -> LlamaConfig:
        return LlamaConfig(head_dim=head_dim, intermediate_size=inner, **_shared(config))

    return build(_matched(build, parameters_of(config)))


def deepseek_twin(config: HelmConfig) -> DeepseekV3Config:
    """A DeepSeek-V3 with the parameters of a HELM-MiCE, within a percent.

    Blocks, width, heads, latent and experts are the same in number; it chooses experts in its own
    way, by sigmoid scores that are normalised over the chosen. A head's dimensions count the HELM's
    time, where that makes them even. The experts' width makes up for the rest, to the nearest
    multiple of 8, and that of the dense blocks for what is left.

    Args:
        config: of the HELM-MiCE.
    """

    def even(width: int) -> int:
        return width + width % 2

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
            qk_nope_head_dim=even(config.qk_nope_head_dim),
            qk_rope_head_dim=config.qk_rope_head_dim,
            v_head_dim=even(config.v_head_dim),
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
