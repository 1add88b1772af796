"""How well a model still predicts general text: cross-entropy before and after fine-tuning."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bench.evaluation.as_found import left_as_found
from bench.files import write_json
from bench.memory import halving

FILE = "forgetting.json"
WINDOW = 1024  # tokens, or fewer for a base that takes fewer: logits of all are held at once
LESS_MEMORY = "take model.dtype=bfloat16, or a smaller base"


@dataclass(frozen=True)
class Window:
    """A piece of a document for one forward pass.

    Attributes:
        ids: tokens; the first predicts only.
        first: the position of the first one that is counted; those before are its context.
    """

    ids: list[int]
    first: int


@dataclass(frozen=True)
class Loss:
    """Cross-entropy of a text: in nats for each token, and in bits for each byte of UTF-8.

    Bits per byte can be compared between tokenizers, nats per token can't.
    """

    nats_per_token: float
    bits_per_byte: float


def text_hash(documents: Sequence[str]) -> str:
    """sha256 over the documents of a text."""
    return hashlib.sha256(json.dumps(documents).encode()).hexdigest()


def windows(ids: Sequence[int], start: int, size: int) -> list[Window]:
    """Cut a document into overlapping windows in which each of its tokens is counted once.

    Every window but the first begins half a window before the first token that it counts.

    Args:
        ids: of the document, without special tokens.
        start: the token that the first one follows.
        size: the most tokens of a window; at least 2.
    """
    tokens, stride = [start, *ids], max(1, size // 2)
    found, counted = [], 1
    while counted < len(tokens):
        begin = 0 if counted == 1 else counted + stride - size
        end = min(begin + size, len(tokens))
        found.append(Window(tokens[begin:end], counted - begin))
        counted = end
    return found


def cross_entropy(
    model: Any, tokenizer: Any, documents: Sequence[str], batch_size: int, context: int
) -> Loss:
    """The model's loss on documents, each of which begins anew.

    Args:
        model: a causal language model, with or without an adapter; it is left as it was.
        tokenizer: its tokenizer.
        documents: texts.
        batch_size: windows at once, or fewer where memory is short.
        context: the most tokens that the model takes.
    """
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    size = max(2, min(WINDOW, context))
    encoded = tokenizer(list(documents), add_special_tokens=False)["input_ids"]
    waiting = [window for ids in encoded for window in windows(ids, start, size)]
    waiting.sort(key=lambda window: -len(window.ids))
    tokens, nats = sum(map(len, encoded)), 0.0

    def first(rows: int) -> tuple[int, float]:
        return rows, _nats(model, waiting[:rows], tokenizer.pad_token_id)

    with left_as_found(model), torch.inference_mode():
        model.eval()
        while waiting:
            # So many tokens at once as that many windows of a common prompt's length have.
            fitting = max(1, batch_size * 64 // len(waiting[0].ids))
            done, sum_ = halving(first, min(fitting, len(waiting)), "forgetting", LESS_MEMORY)
            nats, waiting = nats + sum_, waiting[done:]
    size_in_bytes = sum(len(text.encode()) for text in documents)
    return Loss(nats / tokens, nats / math.log(2) / size_in_bytes)


def forgetting(
    base: Any,
    model: Any,
    tokenizer: Any,
    documents: Sequence[str],
    batch_size: int,
    context: int,
    folder: Path,
) -> dict[str, Any]:
    """The loss before and after fine-tuning; what a run's folder has of it is not computed again.

    Args:
        base: the base as it was before.
        model: what came of it; the base itself where nothing was trained.
        tokenizer: of both.
        documents: texts.
        batch_size: as for `cross_entropy`.
        context: as for `cross_entropy`.
        folder: of the run.

    Returns:
        `before` and `after`, each a `Loss` as a dictionary; `sha256`, `tokens` and `bytes` of the
        text; `seconds`.
    """
    path = folder / FILE
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    began = time.perf_counter()
    # The same windows for both: prefix-tuning takes places of the context for itself.
    given = (tokenizer, documents, batch_size, context - _virtual_tokens(model))
    before = cross_entropy(base, *given)
    after = before if model is base else cross_entropy(model, *given)
    encoded = tokenizer(list(documents), add_special_tokens=False)["input_ids"]
    found = {
        "before": asdict(before),
        "after": asdict(after),
        "sha256": text_hash(documents),
        "tokens": sum(map(len, encoded)),
        "bytes": sum(len(text.encode()) for text in documents),
        "seconds": time.perf_counter() - began,
    }
    write_json(path, found)
    return found


def _nats(model: Any, rows: Sequence[Window], pad: int) -> float:
    """The sum over the tokens that the windows count.

    Padded on the right, where a causal model does not look: with prefix-tuning a row padded on the
    left is read differently.
    """
    longest = max(len(row.ids) for row in rows)
    device = next(model.parameters()).device
    ids = torch.tensor([row.ids + [pad] * (longest - len(row.ids)) for row in rows], device=device)
    mask = torch.tensor(
        [[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in rows], device=device
    )
    logits = model(input_ids=ids, attention_mask=mask).logits
    total = 0.0
    for row, scores in zip(rows, logits, strict=True):
        # A row at a time: in float32 the scores of all would take twice the memory and more.
        wanted = torch.tensor(row.ids[row.first :], device=device)
        told = scores[row.first - 1 : len(row.ids) - 1].float()
        total += torch.nn.functional.cross_entropy(told, wanted, reduction="sum").item()
    return total


def _virtual_tokens(model: Any) -> int:
    """How many tokens prefix-tuning puts before every text."""
    configs = getattr(model, "peft_config", {})
    return max((getattr(c, "num_virtual_tokens", None) or 0 for c in configs.values()), default=0)
