import dataclasses

import pytest
import torch

from bench.data.batches import (
    IGNORED,
    TOKENS,
    Example,
    Steps,
    collate,
    encode_training,
    split,
    step_order,
)
from bench.data.problems import Problem
from tests.evaluation.test_evaluate import PROTOCOL as PLAIN

PROTOCOL = dataclasses.replace(
    PLAIN, train_prompt="Question: {instruction}\nAnswer:", target=" {output}"
)  # fmt: skip
PROBLEM = Problem("mawps", "Mary has 3 books.", "", "3+1=4. The answer is 4.", "4")


def encode(tokenizer, problems=(PROBLEM,), context=512, train_on_inputs=False, protocol=PROTOCOL):
    return encode_training(tuple(problems), tokenizer, protocol, context, train_on_inputs)


def test_loss_is_on_the_target_and_the_end_of_sequence(tiny):
    tokenizer = tiny[1]
    (example,), _ = encode(tokenizer)
    counted = [i for i, label in zip(example.ids, example.labels, strict=True) if label != IGNORED]
    assert tokenizer.decode(counted) == " 3+1=4. The answer is 4.</s>"


def test_train_on_inputs_counts_the_prompt_too(tiny):
    (example,), _ = encode(tiny[1], train_on_inputs=True)
    assert example.labels == example.ids and example.targets == len(example.ids) - 1


def test_rows_longer_than_the_limit_are_dropped_and_counted(tiny):
    length = len(encode(tiny[1])[0][0].ids)
    long = dataclasses.replace(PROBLEM, instruction="Mary has 3 books. " * 40)
    rows = [PROBLEM, long, PROBLEM]
    for limit, dropped in ((length, 1), (length - 1, 3)):
        shorter = dataclasses.replace(PROTOCOL, max_length=limit)
        for options in ({"context": limit}, {"protocol": shorter}):
            examples, too_long = encode(tiny[1], rows, **options)
            assert (len(examples), too_long) == (3 - dropped, dropped)


@pytest.mark.parametrize("train_on_inputs", [False, True])
def test_a_row_without_a_target_is_dropped(tiny, train_on_inputs):
    # Its only token is the first one, which is never predicted.
    cut = dataclasses.replace(PROTOCOL, max_length=1, cut_long_rows=True, cut_rows_end=False)
    assert encode(tiny[1], train_on_inputs=train_on_inputs, protocol=cut) == ([], 1)


def test_the_seed_determines_the_order_and_each_epoch_has_every_row_once():
    steps, same, other = (step_order(100, 16, 2.5, seed) for seed in (0, 0, 1))
    assert steps == same != other
    order = [i for step in steps for i in step]
    assert len(order) == 250
    assert sorted(order[:100]) == sorted(order[100:200]) == list(range(100))
    assert len(set(order[200:])) == 50


def some_examples(lengths):
    return [Example([5] * n, [IGNORED] * (n - 2) + [5, 5]) for n in lengths]


@pytest.mark.parametrize("micro_batch_size", [1, 2, 3, 8])
def test_micro_batches_only_split_a_step(micro_batch_size):
    steps = Steps(some_examples(range(3, 11)), [list(range(8))], pad_id=0)
    parts = list(steps.micro_batches(0, micro_batch_size))
    assert steps.targets(0) == 16
    assert sum(len(part["input_ids"]) for part in parts) == 8
    assert sum(int((part["labels"] != IGNORED).sum()) for part in parts) == 16


def test_rows_of_similar_length_share_a_micro_batch():
    lengths = [9, 3, 9, 3, 9, 3]
    steps = Steps(some_examples(lengths), [list(range(6))], pad_id=0)
    assert [part["input_ids"].shape[1] for part in steps.micro_batches(0, 3)] == [3, 9]
    assert steps.padding_share(3) == 0.0


def test_ranks_divide_the_rows_of_each_step():
    order = [[0, 1, 2, 3, 4], [5]]
    steps = Steps(some_examples(range(3, 9)), order, pad_id=0, ranks=2)
    widths = {
        (step, rank): [part["input_ids"].shape[1] for part in steps.micro_batches(step, 2, rank)]
        for step in (0, 1)
        for rank in (0, 1)
    }
    assert widths == {(0, 0): [5, 7], (0, 1): [6], (1, 0): [8], (1, 1): []}
    assert steps.targets(0) == 10 and steps.padding_share(2) == pytest.approx(4 / 37)


@pytest.mark.parametrize(
    ("budget", "sizes"),
    [(1, [1] * 6), (11, [3, 1, 1, 1]), (12, [4, 1, 1]), (24, [4, 2]), (100, [6])],
)
def test_a_budget_of_tokens_limits_rows_times_the_longest(budget, sizes):
    rows = some_examples([2, 3, 3, 3, 9, 12])
    parts = split(rows, budget, TOKENS)
    assert [len(part) for part in parts] == sizes
    assert [row for part in parts for row in part] == rows
    unsorted = split(rows[::-1], 24, TOKENS)
    assert [len(part) for part in unsorted] == [2, 4]


def test_ranks_may_differ_in_their_micro_batches_of_tokens():
    rows = some_examples([3, 3, 3, 20])
    steps = Steps(rows, [[0, 1, 2, 3]], pad_id=0, ranks=2, unit=TOKENS)
    assert [len(list(steps.micro_batches(0, 12, rank))) for rank in (0, 1)] == [1, 2]
    assert steps.most_micro_batches(0, 12) == 2 and steps.padding_share(12) == 0.0


def test_padding_is_on_the_right_masked_and_without_a_label():
    batch = collate(some_examples([2, 3]), pad_id=7)
    assert batch["input_ids"].tolist() == [[5, 5, 7], [5, 5, 5]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [[5, 5, IGNORED], [IGNORED, 5, 5]]
    assert batch.pop("first_target") == 1
    assert all(value.dtype == torch.int64 for value in batch.values())


def test_a_batch_says_where_its_first_target_is():
    prompts = Example([5] * 6, [IGNORED] * 4 + [5, 5]), Example([5] * 5, [IGNORED] * 3 + [5, 5])
    assert collate(list(prompts), pad_id=0)["first_target"] == 3
    # Nothing precedes position 0, so it is no target; a row without one counts from its end.
    assert collate([Example([5, 5, 5], [5, IGNORED, 5])], pad_id=0)["first_target"] == 2
    assert collate([Example([5, 5], [IGNORED] * 2)], pad_id=0)["first_target"] == 1
