"""Small checkpoints of the architectures that a base may have, with the embedded tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAMILIES = (
    "llama",
    "gemma",
    "gemma3_text",
    "gemma3",
    "qwen2",
    "gpt_neox",
    "helm_d",
    "helm_mice",
    "deepseek_v3",
)

# Of the families with latent attention and experts; the dense HELM reads none of it.
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


def small_model(family: str, entries: int) -> Any:
    """A random two-layer model of transformers' own class."""
    import transformers as t

    shape = {
        "vocab_size": entries + 8,  # transformers adds a token of Qwen's own to any tokenizer
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
    }
    if family == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**shape))
    if family == "gemma":
        return t.GemmaForCausalLM(t.GemmaConfig(**shape, head_dim=8))
    if family in ("helm_d", "helm_mice"):
        from bench.models.helm import HelmConfig, HelmForCausalLM

        shape.pop("num_key_value_heads")  # it has a key for each head, or none
        return HelmForCausalLM(HelmConfig(kind=family, **shape, **LATENT))
    if family == "deepseek_v3":
        shape["num_key_value_heads"] = 4
        return t.DeepseekV3ForCausalLM(
            t.DeepseekV3Config(**shape, **LATENT, q_lora_rank=None, n_group=1, topk_group=1)
        )
    if family == "gpt_neox":
        shape.pop("num_key_value_heads")  # it has a key for each head
        return t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**shape))
    if family == "qwen2":
        return t.Qwen2ForCausalLM(t.Qwen2Config(**shape))
    text = t.Gemma3TextConfig(**shape, head_dim=8, sliding_window=16)
    if family == "gemma3_text":
        return t.Gemma3ForCausalLM(text)
    pictures = t.SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    return t.Gemma3ForConditionalGeneration(
        t.Gemma3Config(text_config=text, vision_config=pictures, mm_tokens_per_image=4)
    )


@pytest.fixture(scope="session")
def family_base(
    tmp_path_factory: pytest.TempPathFactory, tiny: tuple[Any, Any]
) -> Callable[[str], Path]:
    """A function that gives the folder of a checkpoint of one of FAMILIES."""
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
