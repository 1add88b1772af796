"""Packing of documents into rows of one length.

A document that does not fit continues in the next row, which repeats its last token as context: in
one epoch every token of a document except its first is predicted once, never from another document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.batches import IGNORED
from bench.data.tokens import Tokens

NO_DOCUMENT = -1
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """A position in the stream of documents.

    Attributes:
        epoch: number of finished epochs.
        document: number of finished documents of this epoch.
        offset: position in the next document of the token that the next prediction follows.
    """

    epoch: int = 0
    document: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Rows:
    """Packed rows; all tensors are int64, (rows, tokens).

    Attributes:
        input_ids: token ids.
        labels: the same at positions that are predicted, else IGNORED.
        position_ids: from 0 in each document or part of one.
        sequence_ids: from 0 in each row; tokens attend only to those with the same id.
        documents: number of the document whose text a label belongs to; NO_DOCUMENT for the end
            token and where there is no label.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    sequence_ids: torch.Tensor
    documents: torch.Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(**{name: value[rows] for name, value in vars(self).items()})

    def to(self, device: torch.device) -> Rows:
        """The same rows on a device, copied without waiting for it."""
        copies = {name: x.to(device, non_blocking=True) for name, x in vars(self).items()}
        return Rows(**copies)

    @property
    def targets(self) -> int:
        """Number of predicted tokens."""
        return int((self.labels != IGNORED).sum())


class Packer:
    """Rows of shuffled documents. Setting `place` continues at any position of the stream.

    Args:
        tokens: all documents.
        documents: numbers of the documents to pack.
        row_tokens: tokens of a row; at least 2.
        seed: seed of the order, which differs in every epoch.
    """

    def __init__(self, tokens: Tokens, documents: Integers, row_tokens: int, seed: int) -> None:
        self.tokens, self.documents, self.row_tokens = tokens, documents, row_tokens
        self.seed, self.place = seed, Place()
        self._order: tuple[int, Integers] | None = None

    def rows(self, count: int) -> Rows:
        """The next rows."""
        builder = _RowBuilder(self.row_tokens, self.tokens.pad_id)
        while len(builder.rows) < count:
            epoch, document, offset = astuple(self.place)
            number = int(self._order_of(epoch)[document])
            ids = self.tokens.document(number)
            offset += builder.add(ids, offset, number)
            if offset < len(ids) - 1:
                self.place = Place(epoch, document, offset)
            elif document + 1 < len(self.documents):
                self.place = Place(epoch, document + 1)
            else:
                self.place = Place(epoch + 1)
        return builder.take()

    @property
    def passes(self) -> float:
        """Number of epochs so far."""
        return self.place.epoch + self.place.document / len(self.documents)

    def _order_of(self, epoch: int) -> Integers:
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng([self.seed, epoch])
            self._order = epoch, generator.permutation(self.documents)
        return self._order[1]


def whole_rows(
    tokens: Tokens, documents: Integers, row_tokens: int, at_once: int
) -> Iterator[Rows]:
    """Rows for evaluation, in the given order; a document that does not fit starts a new row.

    The result of a document therefore does not depend on the documents before it.

    Args:
        tokens: all documents.
        documents: numbers of the documents to pack.
        row_tokens: tokens of a row.
        at_once: rows per yielded batch.
    """
    builder = _RowBuilder(row_tokens, tokens.pad_id)
    for number in map(int, documents):
        ids = tokens.document(number)
        if len(ids) > builder.room:
            builder.close()
        offset = 0
        while offset < len(ids) - 1:
            offset += builder.add(ids, offset, number)
        if len(builder.rows) > at_once:
            yield builder.take(at_once)
    builder.close()
    while builder.rows:
        yield builder.take(at_once)


class _RowBuilder:
    def __init__(self, row_tokens: int, pad_id: int) -> None:
        self.row_tokens, self.pad_id = row_tokens, pad_id
        self.rows: list[Integers] = []
        self._start()

    def _start(self) -> None:
        self.row = np.empty((5, self.row_tokens), np.int64)
        self.filled = self.sequence = 0

    @property
    def room(self) -> int:
        return self.row_tokens - self.filled

    def add(self, ids: NDArray[Any], offset: int, number: int) -> int:
        count = min(self.room - 1, len(ids) - 1 - offset)
        first, part = self.filled, ids[offset : offset + count + 1].astype(np.int64)
        self._append(part, part, number)
        self.row[1, first], self.row[4, first] = IGNORED, NO_DOCUMENT
        if offset + count == len(ids) - 1:
            self.row[4, self.filled - 1] = NO_DOCUMENT
        if self.room < 2:
            self.close()
        return count

    def close(self) -> None:
        if not self.filled:
            return
        if self.room:
            rest = np.full(self.room, self.pad_id)
            self._append(rest, np.full_like(rest, IGNORED), NO_DOCUMENT)
        self.rows.append(self.row)
        self._start()

    def _append(self, ids: Integers, labels: Integers, number: int) -> None:
        here = slice(self.filled, self.filled + len(ids))
        fields: list[Integers | int] = [ids, labels, np.arange(len(ids)), self.sequence, number]
        for field, values in enumerate(fields):
            self.row[field, here] = values
        self.filled += len(ids)
        self.sequence += 1

    def take(self, most: int | None = None) -> Rows:
        taken = self.rows[:most]
        self.rows = self.rows[len(taken) :]
        return Rows(*torch.from_numpy(np.stack(taken)).unbind(1))
