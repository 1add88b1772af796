"""The embedded base `model=tiny`: its folder and its LLaMA configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TINY_BASE = Path(__file__).parent / "tiny"


def llama_config(tokenizer: Any) -> Any:
    """A LlamaConfig with fewer than 1.9 M parameters (4 MB as bf16) for at most 1,536 tokens."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        intermediate_size=512,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
