"""HELM's sizes, and those of the Euclidean twins beside them."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from bench.errors import InputError
from bench.models.helm.config import HelmConfig
from bench.models.helm.twins import deepseek_twin, llama_twin

MODELS = ("helm_d", "helm_mice", "llama_twin", "deepseek_twin")

# Space coordinates: a published width of 390 is 389 here, a head of 65 is 64.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "120m": {
        "hidden_size": 389,
        "intermediate_size": 1559,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "head_dim": 64,
        "moe_intermediate_size": 779,
        "n_routed_experts": 4,
        "kv_lora_rank": 65,
        "qk_nope_head_dim": 33,
        "qk_rope_head_dim": 16,
        "v_head_dim": 32,
    },
    "1b": {
        "hidden_size": 909,
        "intermediate_size": 3639,
        "num_hidden_layers": 16,
        "num_attention_heads": 14,
        "head_dim": 64,
        "moe_intermediate_size": 1819,
        "n_routed_experts": 8,
        "kv_lora_rank": 257,
        "qk_nope_head_dim": 65,
        "qk_rope_head_dim": 64,
        "v_head_dim": 64,
    },
}
# The same in numbers that matrix units like: products over multiples of 64, and heads that are
# multiples of 16 with their time.
_ALIGNED: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "head_dim": 31,
        "moe_intermediate_size": 256,
        "n_routed_experts": 4,
        "kv_lora_rank": 32,
        "qk_nope_head_dim": 15,
        "qk_rope_head_dim": 16,
        "v_head_dim": 31,
        "max_position_embeddings": 1024,
    },
    "120m": _PUBLISHED["120m"]
    | {
        "hidden_size": 384,
        "intermediate_size": 1536,
        "head_dim": 63,
        "moe_intermediate_size": 768,
        "kv_lora_rank": 64,
        "qk_nope_head_dim": 31,
        "v_head_dim": 31,
    },
    "1b": _PUBLISHED["1b"]
    | {
        "hidden_size": 896,
        "intermediate_size": 3584,
        "head_dim": 63,
        "moe_intermediate_size": 1792,
        "kv_lora_rank": 256,
        "qk_nope_head_dim": 63,
        "v_head_dim": 63,
    },
}
SIZES = tuple(_ALIGNED)


def model_config(kind: str, size: str, vocab_size: int, **choices: Any) -> PreTrainedConfig:
    """The configuration of a model of a size; `AutoModelForCausalLM.from_config` builds it.

    Args:
        kind: one of MODELS. A twin has the parameters of the HELM of its size, within a percent.
        size: one of SIZES.
        vocab_size: entries of embedding and head.
        **choices: `aligned=False` for the published widths, which are no multiples of 64; any other
            option of HelmConfig, in a twin's case of the HELM beside it.

    Raises:
        InputError: an unknown kind or size, or no published widths of that size.
    """
    if kind not in MODELS:
        raise InputError(f"there is no model '{kind}': take {', '.join(MODELS)}")
    sizes = _ALIGNED if choices.pop("aligned", True) else _PUBLISHED
    if size not in sizes:
        raise InputError(f"there is no size '{size}' of these: take {', '.join(sizes)}")
    own = {"llama_twin": "helm_d", "deepseek_twin": "helm_mice"}.get(kind, kind)
    config = HelmConfig(kind=own, vocab_size=vocab_size, **(sizes[size] | choices))
    if kind == "llama_twin":
        return llama_twin(config)
    return deepseek_twin(config) if kind == "deepseek_twin" else config
