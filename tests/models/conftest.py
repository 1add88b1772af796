"""Small checkpoints of the architectures that a base may have, with the embedded tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WIDTHS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
# For latent attention and experts; the dense HELM ignores it.
LATENT = {
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def small_model(family: str, entries: int) -> Any:
    """A random two-layer model of transformers' own class."""
    import transformers as t

    from bench.models.helm import HelmConfig, HelmForCausalLM

    # Eight spare rows: transformers adds a token of Qwen's to any tokenizer.
    widths: dict[str, Any] = {"vocab_size": entries + 8, **WIDTHS}
    grouped = {**widths, "num_key_value_heads": 2}
    if family in ("helm_d", "helm_mice"):
        return HelmForCausalLM(HelmConfig(kind=family, **widths, **LATENT))
    text = t.Gemma3TextConfig(**grouped, head_dim=8, sliding_window=16)
    deepseek = {"num_key_value_heads": 4, "q_lora_rank": None, "n_group": 1, "topk_group": 1}
    models = {
        "deepseek_v3": t.DeepseekV3Config(**widths, **LATENT, **deepseek),
        "gpt_neox": t.GPTNeoXConfig(**widths),
        "llama": t.LlamaConfig(**grouped),
        "gemma": t.GemmaConfig(**grouped, head_dim=8),
        "qwen2": t.Qwen2Config(**grouped),
    }
    if family in models:
        return t.AutoModelForCausalLM.from_config(models[family])
    vision = t.SiglipVisionConfig(**VISION)
    config = t.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return t.Gemma3ForConditionalGeneration(config)


@pytest.fixture(scope="session")
def family_base(
    tmp_path_factory: pytest.TempPathFactory, tiny: tuple[Any, Any]
) -> Callable[[str], Path]:
    """A function that gives the folder of a family's checkpoint."""
    import torch

    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            torch.manual_seed(0)
            small_model(family, len(tiny[1])).save_pretrained(made[family])
            tiny[1].save_pretrained(made[family])
        return made[family]

    return folder


@pytest.fixture(scope="session")
def family(family_base: Callable[[str], Path]) -> Callable[[str], tuple[Any, Any]]:
    """A function that gives a family's base, over weights that tests share, and its tokenizer."""
    import torch

    from bench.models.loading import load_base
    from bench.models.shared import with_shared_weights
    from tests.helpers import model_at

    made: dict[str, tuple[Any, Any]] = {}

    def load(name: str) -> tuple[Any, Any]:
        if name not in made:
            made[name] = load_base(model_at(family_base(name)), torch.device("cpu"))
        base, tokenizer = made[name]
        copy = with_shared_weights(base)
        copy.context_limit, copy.commit = base.context_limit, base.commit
        return copy, tokenizer

    return load
