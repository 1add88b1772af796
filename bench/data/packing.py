"""Documents packed into rows of one length, with all that keeps them apart.

A row holds several documents or parts of them, one behind the other. A document that does not fit
goes on in the next row, where its last token so far stands once more, to predict from: each token
of a document but its first is predicted once in a pass, none is thrown away, and none is predicted
from another document. Only a last place that is too short for two tokens stays empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.batches import IGNORED
from bench.data.tokens import Tokens

NO_DOCUMENT = -1


@dataclass(frozen=True)
class Place:
    """Where a pass through the documents stands: before token `offset` + 1 of a document.

    Attributes:
        epoch: passes that are finished.
        document: how many documents of this one are.
        offset: of the next document's token that the next one is predicted from.
    """

    epoch: int = 0
    document: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Rows:
    """Packed rows; all are int64, (rows, tokens).

    Attributes:
        input_ids: token ids.
        labels: the same where a token is to be predicted from what stands before it, else IGNORED.
        position_ids: from 0 in each document, or part of one.
        sequence_ids: from 0 in each row: which tokens may attend to each other.
        documents: whose text a label is, by its number; NO_DOCUMENT for the token of a
            document's end, and where there is no label.
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
        """The same on a device."""
        return Rows(**{name: value.to(device) for name, value in vars(self).items()})

    @property
    def targets(self) -> int:
        """Tokens that are to be predicted."""
        return int((self.labels != IGNORED).sum())


class Packer:
    """Rows of documents in an order that a seed fixes, from any place on."""

    def __init__(
        self,
        tokens: Tokens,
        documents: NDArray[np.int64],
        row_tokens: int,
        pad_id: int,
        seed: int,
        place: Place | None = None,
    ) -> None:
        """Prepare.

        Args:
            tokens: of all documents.
            documents: the numbers of those to pack.
            row_tokens: of a row; at least 2.
            pad_id: the token of an empty place.
            seed: of the order, another one in each pass.
            place: to begin at.
        """
        self.tokens, self.documents, self.row_tokens = tokens, documents, row_tokens
        self.pad_id, self.seed, self.place = pad_id, seed, place or Place()
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def rows(self, count: int) -> Rows:
        """The next rows."""
        made = _Maker(self.row_tokens, self.pad_id)
        while len(made.rows) < count:
            number = int(self._orders()[self.place.document])
            left = made.add(self.tokens.document(number), self.place.offset, number)
            self._move(self.place.offset + left, len(self.tokens.document(number)))
        return made.tensors()

    @property
    def passes(self) -> float:
        """How often it has been through the documents."""
        return self.place.epoch + self.place.document / len(self.documents)

    def state(self) -> dict[str, int]:
        """Where it stands, as plain numbers."""
        return asdict(self.place)

    def _orders(self) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != self.place.epoch:
            draw = np.random.default_rng([self.seed, self.place.epoch])
            self._order = self.place.epoch, draw.permutation(self.documents)
        return self._order[1]

    def _move(self, offset: int, length: int) -> None:
        epoch, document, _ = asdict(self.place).values()
        if offset < length - 1:
            self.place = Place(epoch, document, offset)
        elif document + 1 < len(self.documents):
            self.place = Place(epoch, document + 1)
        else:
            self.place = Place(epoch + 1)


def whole_rows(
    tokens: Tokens, documents: NDArray[np.int64], row_tokens: int, pad_id: int, at_once: int
) -> Iterator[Rows]:
    """Rows for measuring: in the order given, and a document that does not fit begins a row.

    So what is measured of one does not depend on those before it.

    Args:
        tokens: of all documents.
        documents: the numbers of those to pack.
        row_tokens: of a row.
        pad_id: the token of an empty place.
        at_once: rows that are yielded together.
    """
    made = _Maker(row_tokens, pad_id)
    for number in map(int, documents):
        ids = tokens.document(number)
        if len(ids) > made.room:
            made.close()
        offset = 0
        while offset < len(ids) - 1:
            offset += made.add(ids, offset, number)
        if len(made.rows) > at_once:
            yield made.tensors(at_once)
    made.close()
    while made.rows:
        yield made.tensors(at_once)


class _Maker:
    """Rows that are being filled: for each the five lists of numbers of `Rows`."""

    def __init__(self, row_tokens: int, pad_id: int) -> None:
        self.row_tokens, self.pad_id = row_tokens, pad_id
        self.rows: list[NDArray[np.int64]] = []
        self._begin()

    def _begin(self) -> None:
        self.row = np.empty((5, self.row_tokens), np.int64)
        self.filled = self.sequence = 0

    @property
    def room(self) -> int:
        """Places that are left in the row at hand."""
        return self.row_tokens - self.filled

    def add(self, ids: NDArray[Any], offset: int, number: int) -> int:
        """Put in what fits of a document from `offset` on; how many of its tokens that predicts."""
        count = min(self.room - 1, len(ids) - 1 - offset)
        part = ids[offset : offset + count + 1].astype(np.int64)
        self._put(part, part, number)
        labels, documents = self.row[1], self.row[4]
        labels[self.filled - count - 1] = IGNORED
        documents[self.filled - count - 1] = NO_DOCUMENT
        if offset + count == len(ids) - 1:
            documents[self.filled - 1] = NO_DOCUMENT
        if self.room < 2:
            self.close()
        return count

    def close(self) -> None:
        """Leave the rest of the row at hand empty, unless all of it is."""
        if not self.filled:
            return
        if self.room:
            empty = np.full(self.room, self.pad_id, np.int64)
            self._put(empty, np.full(self.room, IGNORED, np.int64), NO_DOCUMENT)
        self.rows.append(self.row)
        self._begin()

    def _put(self, ids: NDArray[np.int64], labels: NDArray[np.int64], number: int) -> None:
        here = slice(self.filled, self.filled + len(ids))
        self.row[:2, here] = ids, labels
        self.row[2, here] = np.arange(len(ids))
        self.row[3, here], self.row[4, here] = self.sequence, number
        self.filled += len(ids)
        self.sequence += 1

    def tensors(self, most: int | None = None) -> Rows:
        """Take the finished rows, or so many of them."""
        taken = self.rows[:most]
        self.rows = self.rows[len(taken) :]
        return Rows(*torch.from_numpy(np.stack(taken)).unbind(1))
