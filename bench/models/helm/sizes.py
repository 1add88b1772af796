"""Sizes of HELM models and of their Euclidean twins."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from bench.errors import InputError
from bench.models.helm.config import HelmConfig
from bench.models.helm.twins import deepseek_twin, llama_twin

MODELS = ("helm_d", "helm_mice", "llama_twin", "deepseek_twin")

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

    Args:
        kind: One of MODELS. A twin has as many parameters as the HELM of its size, within 1%.
        size: One of SIZES.
        vocab_size: Number of tokens.
        **choices: `aligned=False` for the published widths; options of HelmConfig, for a twin those
            of its HELM.

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
    helm = {"llama_twin": "helm_d", "deepseek_twin": "helm_mice"}.get(kind, kind)
    config = HelmConfig(kind=helm, vocab_size=vocab_size, **(widths | choices))
    if kind == "llama_twin":
        return llama_twin(config)
    return deepseek_twin(config) if kind == "deepseek_twin" else config
