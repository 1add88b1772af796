"""The embedded base `model=tiny`: the shape of its LLaMA architecture, and where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TINY_BASE = Path(__file__).parent / "tiny"


def llama_config(tokenizer: Any) -> Any:
    """A LlamaConfig of under 1.9 M parameters for a tokenizer of at most 1,536 entries.

    Grouped-query attention and tied embeddings keep the weights, stored as bf16, under 4 MB.
    """
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
