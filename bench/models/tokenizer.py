"""What is required of a base's tokenizer, wherever it comes from."""

from __future__ import annotations

import json
from typing import Any

from bench.errors import InputError


def check_tokenizer(tokenizer: Any, named: str, entries: int | None = None) -> None:
    """Check a tokenizer, set its padding token, and keep it from ending texts.

    Training appends the end-of-sequence token to its targets. If a tokenizer appended it as well,
    prompts would end with it, too, and be followed by another text instead of an answer.

    Args:
        tokenizer: a tokenizer of transformers, changed in place.
        named: its name in messages.
        entries: number of embeddings of its model; None for a model that is built to fit.

    Raises:
        InputError: there is no end-of-sequence token, it is appended in an unknown way, or tokens
            have no embedding.
    """
    # Not by its id: for an empty token, transformers looks that up without end.
    if not tokenizer.eos_token or tokenizer.eos_token_id is None:
        raise InputError(
            f"{named} has no end-of-sequence token (eos_token is {tokenizer.eos_token!r}): set "
            'eos_token in its tokenizer_config.json, such as "eos_token": "</s>"'
        )
    for name in ("bos_token", "unk_token", "pad_token"):
        if getattr(tokenizer, name) == "":
            setattr(tokenizer, name, None)
    vocabulary = tokenizer.get_vocab()
    beyond = [t for t, index in vocabulary.items() if entries is not None and index >= entries]
    # Padding is masked and never scored, so that any token will do.
    if tokenizer.pad_token is None or tokenizer.pad_token in beyond:
        beyond = [token for token in beyond if token != tokenizer.pad_token]
        tokenizer.pad_token = tokenizer.eos_token
    if beyond:
        raise InputError(
            f"{named} has {len(vocabulary)} entries, but the model's embedding only {entries}: "
            f"{beyond[0]!r} has no row. They do not belong together"
        )
    _keep_from_ending_texts(tokenizer)
    if _ends_texts(tokenizer):
        raise InputError(
            f"{named} appends its end-of-sequence token {tokenizer.eos_token} to every text, and "
            "prompts must not end with it: set add_eos_token to false in its tokenizer_config.json"
        )


def _ends_texts(tokenizer: Any) -> bool:
    return tokenizer("a")["input_ids"][-1:] == [tokenizer.eos_token_id]


def _keep_from_ending_texts(tokenizer: Any) -> None:
    if _ends_texts(tokenizer) and getattr(tokenizer, "add_eos_token", False):
        tokenizer.add_eos_token = False
    if not _ends_texts(tokenizer) or not tokenizer.is_fast:
        return
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    processor, end = state["post_processor"] or {}, tokenizer.eos_token
    for step in processor.get("processors", [processor]):
        for template in (step.get("single", []), step.get("pair", [])):
            while template and template[-1].get("SpecialToken", {}).get("id") == end:
                template.pop()
    changed = type(tokenizer.backend_tokenizer).from_str(json.dumps(state))
    tokenizer.backend_tokenizer.post_processor = changed.post_processor
