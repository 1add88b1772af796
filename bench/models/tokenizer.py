"""The embedded base's tokenizer: byte-level BPE with single digits, trained on its own corpus."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

PAD, BOS, EOS = "<pad>", "<s>", "</s>"


def train_tokenizer(texts: list[str], vocab_size: int, min_frequency: int = 8) -> Any:
    """Train the tokenizer and drop the merges that its corpus never uses.

    All 256 bytes stay, so any text can be encoded. Digits are single tokens, as in LLaMA:
    arithmetic is then a matter of columns and not of thousands of number words.

    Args:
        texts: the corpus.
        vocab_size: the most entries, special tokens included; unused merges are taken off it.
        min_frequency: how often a pair must occur to be merged.

    Returns:
        A `transformers.PreTrainedTokenizerFast` that puts BOS in front and pads on the left.
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
    """The same tokenizer without the merges that no text's encoding contains or builds on.

    BPE training keeps the steps on the way to a longer token ("stick" on the way to "stickers").
    Where only the long one ever occurs, its steps stay, as ingredients; a merge that is neither
    would have an embedding row that training never touches.
    """
    used = {token for text in texts for token in tokenizer.encode(text).tokens}
    state = json.loads(tokenizer.to_str())
    ingredients = {left + right: (left, right) for left, right in state["model"]["merges"]}
    needed, waiting = set(), [token for token in used if token in ingredients]
    while waiting:
        token = waiting.pop()
        if token not in needed:
            needed.add(token)
            waiting += [part for part in ingredients[token] if part in ingredients]
    state["model"]["merges"] = [
        pair for pair in state["model"]["merges"] if "".join(pair) in needed
    ]
    kept = [
        token for token in state["model"]["vocab"] if token not in ingredients or token in needed
    ]
    kept.sort(key=state["model"]["vocab"].get)
    state["model"]["vocab"] = {token: index for index, token in enumerate(kept)}
    return type(tokenizer).from_str(json.dumps(state))
