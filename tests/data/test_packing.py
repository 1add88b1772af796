from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data.batches import IGNORED
from bench.data.packing import NO_DOCUMENT, Packer, whole_rows
from bench.data.tokens import Tokens

PAD = 0


def tokens_of(*lengths):
    """Documents of so many tokens each, all tokens different; 1000 a document."""
    documents = [np.arange(n) + 1000 * (i + 1) for i, n in enumerate(lengths)]
    starts = np.cumsum([0, *lengths])
    digests = np.zeros((len(lengths), 32), np.uint8)
    sizes = np.ones(len(lengths), int)
    return Tokens(np.concatenate(documents), starts, sizes, digests, (0.0, 0.0), PAD, Path())


def packer(tokens, row_tokens, seed=0):
    return Packer(tokens, np.arange(len(tokens.sizes)), row_tokens, seed)


def predictions(rows):
    """(token, previous token) of all labels, as in a model's shifted loss."""
    found = []
    for ids, labels, sequences in zip(rows.input_ids, rows.labels, rows.sequence_ids, strict=True):
        for place in range(1, len(ids)):
            if labels[place] != IGNORED:
                assert sequences[place] == sequences[place - 1]
                assert labels[place] == ids[place]
                found.append((int(labels[place]), int(ids[place - 1])))
    assert (rows.labels[:, 0] == IGNORED).all()  # a shifted loss never reads these
    return found


LENGTHS = (9, 3, 30, 2, 14, 5)


@pytest.mark.parametrize("row_tokens", [2, 7, 16, 64])
def test_every_token_is_predicted_once_per_epoch_from_the_one_before_it(row_tokens):
    tokens, made = tokens_of(*LENGTHS), []
    rows = packer(tokens, row_tokens)
    while rows.place.epoch == 0:
        made += predictions(rows.rows(1))
    expected = [
        (int(b), int(a))
        for i in range(len(LENGTHS))
        for a, b in zip(tokens.document(i), tokens.document(i)[1:], strict=False)
    ]
    assert sorted(made[: len(expected)]) == sorted(expected)


def test_positions_restart_in_each_document_and_the_order_is_new_in_each_epoch():
    rows = packer(tokens_of(4, 4, 4, 4), 4).rows(8)
    assert rows.position_ids.tolist() == [[0, 1, 2, 3]] * 8
    documents = (rows.input_ids[:, 0] // 1000).tolist()
    assert sorted(documents[:4]) == sorted(documents[4:]) == [1, 2, 3, 4]
    assert documents[:4] != documents[4:]


def test_packing_resumes_at_any_place_as_if_uninterrupted():
    tokens = tokens_of(*LENGTHS)
    whole, parts, together = packer(tokens, 11).rows(12), packer(tokens, 11), []
    for count in (1, 4, 2, 5):
        resumed = packer(tokens, 11)
        resumed.place = parts.place
        expected, found = resumed.rows(count), parts.rows(count)
        assert torch.equal(expected.input_ids, found.input_ids)
        together.append(found.input_ids)
    assert torch.equal(torch.cat(together), whole.input_ids)


def test_the_seed_fixes_the_order():
    tokens = tokens_of(*range(3, 30))
    one, same, other = (packer(tokens, 16, seed).rows(6).input_ids for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_whole_rows_split_a_document_only_if_it_exceeds_a_row():
    tokens = tokens_of(9, 8, 25, 3)
    parts = list(whole_rows(tokens, np.arange(4), 10, at_once=2))
    assert [len(part) for part in parts] == [2, 2, 1]
    found = [pair for part in parts for pair in predictions(part)]
    assert len(found) == sum(length - 1 for length in (9, 8, 25, 3))
    first, second = parts[0].input_ids.tolist()
    assert first == [*range(1000, 1009), PAD] and second == [*range(2000, 2008), PAD, PAD]


def test_labels_of_a_document_exclude_its_end_token():
    tokens = tokens_of(5, 4)
    (rows,) = whole_rows(tokens, np.arange(2), 12, at_once=8)
    none = NO_DOCUMENT
    assert rows.documents.tolist() == [[none, 0, 0, 0, none, none, 1, 1, none, none, none, none]]
    assert rows.targets == 7
