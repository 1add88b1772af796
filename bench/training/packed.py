"""Forward passes over packed rows: no token attends to another document's."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.nn import functional as F

from bench.data.batches import IGNORED
from bench.data.packing import NO_DOCUMENT, Rows


def forward(model: Any, rows: Rows, **options: Any) -> Any:
    """The output of a causal language model for packed rows, with positions per document.

    Its forward gets `sequence_ids` if it takes them, else a mask; and the options, such as
    `labels`.
    """
    if "sequence_ids" in inspect.signature(model.forward).parameters:
        options["sequence_ids"] = rows.sequence_ids
    else:
        # bool, (batch, 1, n, n): queries attend to keys of their own document, up to themselves.
        ids = rows.sequence_ids
        options["attention_mask"] = (ids[:, :, None] == ids[:, None, :]).tril()[:, None]
    return model(
        input_ids=rows.input_ids, position_ids=rows.position_ids, use_cache=False, **options
    )


@torch.no_grad()
def document_nats(model: Any, rows: Rows, documents: torch.Tensor) -> None:
    """Add -log p of each document's tokens to `documents`, float64, in place.

    Without the end token, which has no bytes. The rows are of `bench.data.packing.whole_rows`.
    """
    logits = forward(model, rows).logits[:, :-1].float()
    labels, counted = rows.labels[:, 1:], rows.documents[:, 1:]
    losses = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    known = counted.flatten() != NO_DOCUMENT
    documents.index_add_(0, counted.flatten()[known], losses[known].double())
