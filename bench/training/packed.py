"""Causal language models on packed rows: no token attends to another document's."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from bench.data.batches import IGNORED
from bench.data.packing import NO_DOCUMENT, Rows, whole_rows
from bench.data.tokens import Tokens
from bench.memory import halving
from bench.progress import Progress

BLOCKS = 1000  # maximum number of blocks of documents in a record


def forward(model: Any, rows: Rows, **options: Any) -> Any:
    """The output of a causal language model for packed rows, with positions per document.

    Its forward is given `sequence_ids` if it accepts them, otherwise a mask, together with the
    options, such as `labels`.
    """
    if "sequence_ids" in inspect.signature(model.forward).parameters:
        options["sequence_ids"] = rows.sequence_ids
    else:
        # bool, (batch, 1, n, n): a token attends to the tokens of its document up to itself.
        ids = rows.sequence_ids
        options["attention_mask"] = (ids[:, :, None] == ids[:, None, :]).tril()[:, None]
    return model(
        input_ids=rows.input_ids, position_ids=rows.position_ids, use_cache=False, **options
    )


@torch.no_grad()
def document_bits(
    model: Any,
    tokens: Tokens,
    documents: NDArray[np.int64],
    row_tokens: int,
    rows_at_once: int,
    title: str,
) -> NDArray[np.float64]:
    """The bits of each document's text under a model, without the end token, (documents,).

    Unlike a loss per token they do not depend on the tokenizer. A document longer than `row_tokens`
    is predicted in parts, each without the context before it. The model's training mode is
    restored.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()

    def nats(at_once: int) -> torch.Tensor:
        found = torch.zeros(len(tokens.sizes), dtype=torch.float64, device=device)
        with Progress(title, int(tokens.lengths[documents].sum()), "token") as progress:
            for rows in whole_rows(tokens, documents, row_tokens, at_once):
                rows = rows.to(device)
                logits = forward(model, rows).logits[:, :-1].float().flatten(0, 1)
                labels, places = rows.labels[:, 1:].flatten(), rows.documents[:, 1:].flatten()
                losses = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
                known = places != NO_DOCUMENT
                found.index_add_(0, places[known], losses[known].double())
                progress.update(rows.input_ids.numel())
        return found

    found = halving(nats, rows_at_once, title, "give a lower action.row_tokens")
    model.train(training)
    return found.cpu().numpy()[documents] / math.log(2)


def blocks(bits: NDArray[np.float64], sizes: NDArray[np.int64]) -> dict[str, list[float]]:
    """Sums of bits and bytes over at most BLOCKS blocks of consecutive documents."""
    parts = min(BLOCKS, len(bits))
    starts = np.arange(parts) * len(bits) // parts
    added = {"bits": np.add.reduceat(bits, starts), "bytes": np.add.reduceat(sizes, starts)}
    return {name: [round(float(value), 3) for value in values] for name, values in added.items()}
