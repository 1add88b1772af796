"""Prompts and training rows as token ids: plain text, or in the chat template of an instruct base.

A template comes with the base's tokenizer. transformers renders it in jinja's sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data.prompts import CHAT, Protocol
from bench.errors import InputError, reason
from bench.files import read_cache

Ids = list[int]


def prompt_ids(texts: Sequence[str], tokenizer: Any, protocol: Protocol) -> list[Ids]:
    """Token ids of prompts, up to where the answer begins.

    Args:
        texts: prompts; with a chat template each is the message of a user.
        tokenizer: a transformers tokenizer.
        protocol: says whether its chat template is used.

    Raises:
        InputError: the tokenizer has no chat template, or a damaged one.
    """
    if not texts:
        return []
    if protocol.template == CHAT:
        return _ids(tokenizer, [_prompt_text(tokenizer, text) for text in texts])
    return tokenizer(list(texts))["input_ids"]


def training_ids(
    rows: Sequence[tuple[str, str]], tokenizer: Any, protocol: Protocol
) -> tuple[list[Ids], list[Ids]]:
    """Token ids of training rows: the prompt alone, and prompt and target together.

    A row ends with the end-of-sequence token, or with the token that ends the assistant's turn.

    Args:
        rows: prompts and targets.
        tokenizer: a transformers tokenizer.
        protocol: says whether its chat template is used.

    Raises:
        InputError: as for `prompt_ids`; or the template does not render an answer verbatim.
    """
    prompts = prompt_ids([prompt for prompt, _ in rows], tokenizer, protocol)
    if not rows:
        return [], []
    if protocol.template == CHAT:
        return prompts, _ids(tokenizer, [_conversation_text(tokenizer, *row) for row in rows])
    end = tokenizer.eos_token_id
    whole = tokenizer([prompt + target for prompt, target in rows])["input_ids"]
    # A protocol's target may already end with the end-of-sequence token.
    return prompts, [ids if ids[-1:] == [end] else [*ids, end] for ids in whole]


def turn_end(tokenizer: Any) -> int:
    """The id of the token that ends a turn of the assistant; InputError as for `training_ids`."""
    return _ids(tokenizer, [_conversation_text(tokenizer, "Hello.", "Hello.")])[0][-1]


def has_template(folder: Path) -> bool:
    """Whether the tokenizer in a folder has a chat template, without loading it."""
    names = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    settings = read_cache(folder / "tokenizer_config.json") or {}
    return bool(settings.get("chat_template")) or any((folder / name).exists() for name in names)


def no_template(base: str) -> InputError:
    """The error for a base without a chat template."""
    return InputError(
        f"protocol.template=chat: the tokenizer of '{base}' has no chat template, so the base is "
        "not an instruct model. Give protocol.template=plain, or the instruct version of the base"
    )


def _prompt_text(tokenizer: Any, prompt: str) -> str:
    return _rendered(tokenizer, [{"role": "user", "content": prompt.strip()}], opened=True)


def _conversation_text(tokenizer: Any, prompt: str, target: str) -> str:
    """The text of a turn of each, up to and including the token that ends the second."""
    asked, answer = _prompt_text(tokenizer, prompt), target.strip()
    question = {"role": "user", "content": prompt.strip()}
    text = _rendered(tokenizer, [question, {"role": "assistant", "content": answer}])
    start = text.find(answer, len(asked))
    if not text.startswith(asked) or start < 0:
        raise _damaged(tokenizer, "does not render the answer verbatim after the prompt")
    # What follows, such as a line break, comes after the base has stopped.
    after, special = start + len(answer), _special(tokenizer)
    end = re.search("|".join(map(re.escape, special)), text[after:])
    return text[: after + end.end()] if end else text + tokenizer.eos_token


def _special(tokenizer: Any) -> list[str]:
    """The special tokens, longest first; there is at least that of the end of a sequence."""
    tokens = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    return sorted(tokens | {tokenizer.eos_token}, key=len, reverse=True)


def _rendered(tokenizer: Any, turns: list[dict[str, str]], opened: bool = False) -> str:
    if not tokenizer.chat_template:
        raise no_template(tokenizer.name_or_path)
    try:
        return str(
            tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=opened)
        )
    except Exception as error:  # jinja and the template itself raise anything
        raise _damaged(tokenizer, f"can't be rendered: {reason(error)}") from error


def _damaged(tokenizer: Any, what: str) -> InputError:
    return InputError(
        f"the chat template of the tokenizer of '{tokenizer.name_or_path}' {what}. "
        "protocol.template=plain does not use it"
    )


def _ids(tokenizer: Any, texts: list[str]) -> list[Ids]:
    # A template writes the special tokens itself.
    return tokenizer(texts, add_special_tokens=False)["input_ids"]
