"""Functions that tests of several packages use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench.config import PROJECT


def composed(*words: str) -> dict[str, Any]:
    """The resolved configuration of these overrides, as plain containers."""
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose("config", list(words)), resolve=True)
    return plain


def save_random_llama(folder: Path, tokenizer: Any) -> None:
    """Save a random two-layer LLaMA with this tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=64,
            max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def python(
    *arguments: object, cwd: Path = PROJECT, timeout: float = 280, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def records_of(results: Path) -> list[dict[str, Any]]:
    """The records of the finished runs in a results folder."""
    return [json.loads(path.read_text()) for path in results.glob("runs/*/record.json")]
