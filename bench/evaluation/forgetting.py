"""Forgetting: cross-entropy of general text before and after fine-tuning."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data.batches import IGNORED, Example
from bench.evaluation.likelihood import LESS_MEMORY, summed_nats
from bench.files import digest, read_cache, write_json
from bench.memory import halving

FILE = "forgetting.json"
WINDOW = 1024  # maximum number of tokens: the logits of all are in memory at once


def text_hash(documents: Sequence[str]) -> str:
    """sha256 over the documents of a text."""
    return digest(documents)


def windows(ids: Sequence[int], start: int, size: int) -> list[Example]:
    """Split a document into overlapping windows; each of its tokens is the target of one of them.

    Every window except the first has half a window of context. `start` is the token before the
    first one, `size` the maximum number of tokens of a window, at least 2.
    """
    tokens, stride = [start, *ids], max(1, size // 2)
    found, counted = [], 1
    while counted < len(tokens):
        begin = 0 if counted == 1 else counted + stride - size
        end = min(begin + size, len(tokens))
        context = [IGNORED] * (counted - begin)
        found.append(Example(tokens[begin:end], context + tokens[counted:end]))
        counted = end
    return found


def cross_entropy(
    model: Any, tokenizer: Any, documents: Sequence[str], batch_size: int, context: int
) -> dict[str, float]:
    """The loss of a model in eval mode on documents, each without the context of the others.

    Args:
        batch_size: memory limit: the windows of a batch have the tokens of that many prompts.
        context: maximum number of tokens of the model.

    Returns:
        `nats_per_token`, and `bits_per_byte` (of UTF-8), which alone is comparable between
        tokenizers.
    """
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    size = max(2, min(WINDOW, context))
    encoded = _encode(tokenizer, documents)
    pending = [window for ids in encoded for window in windows(ids, start, size)]
    pending.sort(key=lambda window: -len(window.ids))
    nats = 0.0

    def first(rows: int) -> list[float]:
        return summed_nats(model, pending[:rows], tokenizer.pad_token_id)

    while pending:
        # 64 is the length of a typical prompt.
        rows = max(1, batch_size * 64 // len(pending[0].ids))
        found = halving(first, min(rows, len(pending)), "forgetting", LESS_MEMORY)
        nats, pending = nats + sum(found), pending[len(found) :]
    return {
        "nats_per_token": nats / sum(map(len, encoded)),
        "bits_per_byte": nats / math.log(2) / len("".join(documents).encode()),
    }


def forgetting(
    base: Any,
    model: Any,
    tokenizer: Any,
    documents: Sequence[str],
    batch_size: int,
    context: int,
    folder: Path,
) -> dict[str, Any]:
    """The loss before and after fine-tuning; an existing result in the run's folder is returned.

    `model` is the base itself if nothing was trained. `context`, that of `model`, is used
    for both, so that they get the same windows.
    """
    path = folder / FILE
    if found := read_cache(path):
        return found
    began = time.perf_counter()
    given = (tokenizer, documents, batch_size, context)
    before = cross_entropy(base, *given)
    found = {
        "before": before,
        "after": before if model is base else cross_entropy(model, *given),
        "sha256": text_hash(documents),
        "tokens": sum(map(len, _encode(tokenizer, documents))),
        "bytes": len("".join(documents).encode()),
        "seconds": time.perf_counter() - began,
    }
    write_json(path, found)
    return found


def _encode(tokenizer: Any, documents: Sequence[str]) -> list[list[int]]:
    return tokenizer(list(documents), add_special_tokens=False)["input_ids"]
