"""Bits per byte of held-out text: a loss that does not depend on the tokenizer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.packing import whole_rows
from bench.data.tokens import Tokens
from bench.memory import halving
from bench.progress import Progress
from bench.training.packed import document_nats

BLOCKS = 1000  # maximum number of blocks of documents in a record


@dataclass(frozen=True)
class HeldOut:
    """The documents to measure on, in rows of `row_tokens`, the longest context of a prediction.

    Empty places are filled with `pad_id`; a forward pass takes `at_once` rows.
    """

    tokens: Tokens
    row_tokens: int
    pad_id: int
    at_once: int

    @property
    def documents(self) -> NDArray[np.int64]:
        """Their indices, in the order of the text."""
        return np.flatnonzero(self.tokens.held_out)


def document_bits(
    model: Any, held_out: HeldOut, documents: NDArray[np.int64], title: str
) -> NDArray[np.float64]:
    """The bits of each document's text under a model, without the end token, (documents,).

    A document longer than a row is predicted in parts, each without the context before it. The
    model's training mode is restored.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    total = int((held_out.tokens.lengths[documents]).sum())

    def measured(at_once: int) -> torch.Tensor:
        nats = torch.zeros(len(held_out.tokens.sizes), dtype=torch.float64, device=device)
        with Progress(title, total, "token") as progress:
            for rows in whole_rows(
                held_out.tokens, documents, held_out.row_tokens, held_out.pad_id, at_once
            ):
                document_nats(model, rows.to(device), nats)
                progress.update(rows.input_ids.numel())
        return nats

    nats = halving(measured, held_out.at_once, title, "give a lower action.row_tokens")
    model.train(training)
    return nats.cpu().numpy()[documents] / math.log(2)


def blocks(bits: NDArray[np.float64], sizes: NDArray[np.int64]) -> dict[str, list[float]]:
    """Sums of bits and bytes over at most BLOCKS blocks of consecutive documents."""
    parts = min(BLOCKS, len(bits))
    starts = np.arange(parts) * len(bits) // parts
    added = {"bits": np.add.reduceat(bits, starts), "bytes": np.add.reduceat(sizes, starts)}
    return {name: [round(float(value), 3) for value in values] for name, values in added.items()}
