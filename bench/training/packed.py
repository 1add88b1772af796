"""Packed rows through a model: no token attends to another document's."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.nn import functional as F

from bench.data.batches import IGNORED
from bench.data.packing import NO_DOCUMENT, Rows


def forward(model: Any, rows: Rows, **options: Any) -> Any:
    """A causal language model's output for packed rows, positions counted in each document.

    Args:
        model: of transformers. One whose forward takes `sequence_ids` gets those; another gets
            the mask that they mean.
        rows: on the model's device.
        options: of its forward, such as `labels`.
    """
    if "sequence_ids" in inspect.signature(model.forward).parameters:
        options["sequence_ids"] = rows.sequence_ids
    else:
        options["attention_mask"] = document_mask(rows.sequence_ids)
    return model(
        input_ids=rows.input_ids, position_ids=rows.position_ids, use_cache=False, **options
    )


def document_mask(sequence_ids: torch.Tensor) -> torch.Tensor:
    """Which token attends to which: those before it in its own sequence, and itself.

    Args:
        sequence_ids: (batch, n).

    Returns:
        bool, (batch, 1, n, n), True where a query (third axis) attends to a key (fourth).
    """
    same = sequence_ids[:, :, None] == sequence_ids[:, None, :]
    return same.tril()[:, None]


@torch.no_grad()
def document_nats(model: Any, rows: Rows, documents: torch.Tensor) -> None:
    """Add what the model gives for each document's text, -log p of its tokens.

    A document's end is not counted: its bytes have no share in that.

    Args:
        model: of transformers, in eval mode.
        rows: on the model's device, by `bench.data.packing.whole_rows`.
        documents: float64, (documents,); added to in place, on the model's device.
    """
    logits = forward(model, rows).logits[:, :-1].float()
    labels, counted = rows.labels[:, 1:], rows.documents[:, 1:]
    losses = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    known = counted.flatten() != NO_DOCUMENT
    documents.index_add_(0, counted.flatten()[known], losses[known].double())
