"""Sizes of HELM models, and their Euclidean twins with as many parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DeepseekV3Config, LlamaConfig, PreTrainedConfig

from bench.errors import InputError
from bench.models.helm.config import HelmConfig
from bench.models.helm.matched import matched_options

OF_TWIN = {"llama_twin": "helm_d", "deepseek_twin": "helm_mice"}
MATCHED = "_matched"  # a twin that starts like its HELM
MODELS = ("helm_d", "helm_mice", *OF_TWIN, *(f"{twin}{MATCHED}" for twin in OF_TWIN))

# Numbers of space coordinates: a published width of 390 is 389 here, a head of 65 is 64. Aligned
# sizes are multiples of 64, and heads with their time multiples of 16, for faster kernels.
_PUBLISHED, _ALIGNED = ("120m", "1b"), ("tiny", "120m", "1b")
_WIDTHS = {  # published 120m and 1b, aligned tiny, 120m and 1b
    "hidden_size": (389, 909, 128, 384, 896),
    "intermediate_size": (1559, 3639, 512, 1536, 3584),
    "num_hidden_layers": (6, 16, 4, 6, 16),
    "num_attention_heads": (6, 14, 4, 6, 14),
    "head_dim": (64, 64, 31, 63, 63),
    "moe_intermediate_size": (779, 1819, 256, 768, 1792),
    "n_routed_experts": (4, 8, 4, 4, 8),
    "kv_lora_rank": (65, 257, 32, 64, 256),
    "qk_nope_head_dim": (33, 65, 15, 31, 63),
    "qk_rope_head_dim": (16, 64, 16, 16, 64),
    "v_head_dim": (32, 64, 31, 31, 63),
    "max_position_embeddings": (2048, 2048, 1024, 2048, 2048),
}
SIZES = _ALIGNED


def model_config(kind: str, size: str, vocab_size: int, **choices: Any) -> PreTrainedConfig:
    """The configuration of a model, for `AutoModelForCausalLM.from_config`.

    `kind` is one of MODELS, `size` one of SIZES. `choices` are `aligned=False` for the published
    widths, and options of HelmConfig, for a twin those of its HELM.

    Raises:
        InputError: An unknown kind or size, or no published widths of that size.
    """
    if kind not in MODELS:
        raise InputError(f"there is no model '{kind}': use one of {', '.join(MODELS)}")
    aligned = choices.pop("aligned", True)
    sizes = _ALIGNED if aligned else _PUBLISHED
    if size not in sizes:
        raise InputError(f"there is no size '{size}': use one of {', '.join(sizes)}")
    column = sizes.index(size) + (len(_PUBLISHED) if aligned else 0)
    widths = {name: row[column] for name, row in _WIDTHS.items()}
    twin = kind.removesuffix(MATCHED)
    helm = OF_TWIN.get(twin, kind)
    config = HelmConfig(kind=helm, vocab_size=vocab_size, **(widths | choices))
    if kind == helm:
        return config
    options = {} if kind == twin else matched_options(config)
    if config.balance_bias != HelmConfig.balance_bias and helm == "helm_mice":  # see Routing
        options["balance_bias"] = config.balance_bias
    return (llama_twin if helm == "helm_d" else deepseek_twin)(config, **options)


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


def _width_for(build: Callable[[int], PreTrainedConfig], target: int) -> int:
    """The inner width for which a model is closest to a number of parameters."""
    low, high = (parameters_of(build(width)) for width in (_STEP, 2 * _STEP))
    steps = round((target - low) / (high - low))
    return _STEP * (1 + max(steps, 0))


def _shared(config: HelmConfig) -> dict[str, Any]:
    heads = config.num_attention_heads
    # Of the published width 390, the 389 space coordinates are no multiple of the heads.
    width = math.ceil(config.hidden_size / heads) * heads
    return {name: getattr(config, name) for name in _SHARED} | {"hidden_size": width}


def llama_twin(config: HelmConfig, **options: Any) -> LlamaConfig:
    """A LLaMA of a HELM-D's width, blocks and heads, with as many parameters within 1%.

    A head includes the HELM's time if that makes it even. The inner width compensates for the rest.
    `options` are further ones of LlamaConfig.
    """
    head_dim = config.head_dim + config.head_dim % 2

    def build(inner: int) -> LlamaConfig:
        return LlamaConfig(head_dim=head_dim, intermediate_size=inner, **_shared(config), **options)

    return build(_width_for(build, parameters_of(config)))


def deepseek_twin(config: HelmConfig, **options: Any) -> DeepseekV3Config:
    """A DeepSeek-V3 of a HELM-MiCE's sizes, with as many parameters within 1%.

    The router has normalised sigmoid scores. Head dimensions include the HELM's time if that makes
    them even. The width of the experts, then that of the dense blocks, compensates for the rest.
    `options` are further ones of DeepseekV3Config.
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
            **options,
        )

    target, inner = parameters_of(config), config.intermediate_size
    expert = config.moe_intermediate_size
    if config.first_k_dense_replace < config.num_hidden_layers:
        expert = _width_for(lambda width: build(width, inner), target)
    if config.first_k_dense_replace:
        inner = _width_for(lambda width: build(expert, width), target)
    return build(expert, inner)
