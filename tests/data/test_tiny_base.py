import itertools

import pytest
import torch

from bench.data.batches import IGNORED
from bench.data.tiny_base import KINDS, schedule_batches

ROW = 96


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_its_length_and_counts_only_its_own_tokens(tiny, kind):
    for ids, labels in itertools.islice(KINDS[kind](tiny[1], ROW, 0), 50):
        assert len(ids) == len(labels) == ROW
        assert all(label in (IGNORED, token) for token, label in zip(ids, labels, strict=True))
        assert any(label != IGNORED for label in labels)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_fixed_by_the_seed(tiny, kind):
    rows = [next(KINDS[kind](tiny[1], ROW, seed)) for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


def test_of_a_list_only_the_answers_count(tiny):
    tokenizer = tiny[1]
    for ids, labels in itertools.islice(KINDS["lookup"](tokenizer, ROW, 0), 50):
        counted = tokenizer.decode([label for label in labels if label != IGNORED])
        assert "is" not in counted.split() and ":" not in counted
        before = tokenizer.decode(ids[: next(i for i, x in enumerate(labels) if x != IGNORED)])
        assert before.rstrip().endswith(" is")


@pytest.mark.parametrize(("kind", "longest"), [("copy", 12), ("spell", 30)])
def test_a_repeating_row_counts_from_its_second_time_on(tiny, kind, longest):
    for ids, labels in itertools.islice(KINDS[kind](tiny[1], ROW, 0), 50):
        first = labels.count(IGNORED)
        assert 5 <= first <= longest
        assert ids[first:] == ids[:-first] == labels[first:]


def test_batches_follow_the_phases(tiny):
    phases = [
        {"steps": 3, "spell": 1.0},
        {"steps": 2, "corpus": 1.0},
        {"steps": 20, "copy": 1, "corpus": 1},
    ]
    batches = list(schedule_batches(phases, 512, tiny[1], seed=0))
    shapes = [[tuple(ids.shape) for ids, _ in batch] for batch in batches]
    assert shapes[:5] == [[(8, 64)]] * 3 + [[(4, 128)]] * 2
    assert all(sum(rows * tokens for rows, tokens in batch) == 512 for batch in shapes)
    assert {len(batch) for batch in shapes[5:]} == {1, 2}
    for ids, labels in itertools.chain(*batches):
        assert ids.dtype == labels.dtype == torch.int64
        assert bool((labels == IGNORED).any()) == (ids.shape[1] == 64)
