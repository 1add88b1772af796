"""The embedded base `model=tiny`: its folder, configuration, and byte-level BPE tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TINY_BASE = Path(__file__).parent / "tiny"
PAD, BOS, EOS = "<pad>", "<s>", "</s>"


def llama_config(tokenizer: Any) -> Any:
    """A LlamaConfig with fewer than 1.9 M parameters (4 MB as bf16); vocabulary at most 1,536."""
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


def train_tokenizer(texts: list[str], vocab_size: int, min_frequency: int = 8) -> Any:
    """Train the tokenizer and drop the merges that its corpus never uses.

    All 256 bytes are tokens, so that any text can be encoded. Digits are single tokens, as in
    LLaMA. It prepends BOS and pads on the left. `vocab_size` counts special tokens and merges that
    are dropped; a pair is merged if it occurs `min_frequency` times.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = drop_unused_merges(tokenizer, texts)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def drop_unused_merges(tokenizer: Any, texts: Iterable[str]) -> Any:
    """The tokenizer without the merges that occur in no text and in no merge that does.

    BPE training keeps intermediate merges ("stickers" needs "stick"). Those that are no part of a
    used token would have embedding rows that are never trained.
    """
    used = {token for text in texts for token in tokenizer.encode(text).tokens}
    state = json.loads(tokenizer.to_str())
    model = state["model"]
    parts = {left + right: (left, right) for left, right in model["merges"]}
    needed, queue = set(), [token for token in used if token in parts]
    while queue:
        token = queue.pop()
        if token not in needed:
            needed.add(token)
            queue += [part for part in parts[token] if part in parts]
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in needed]
    kept = [token for token in model["vocab"] if token not in parts or token in needed]
    kept.sort(key=model["vocab"].get)
    model["vocab"] = {token: index for index, token in enumerate(kept)}
    return type(tokenizer).from_str(json.dumps(state))
