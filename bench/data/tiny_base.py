"""The rows that the embedded base is pretrained on, and the schedule of their kinds.

`corpus` rows are text, `lookup` rows labelled lists with queries. Trained alone, these leave a
model guessing among the labels: it needs a circuit that repeats what followed a token before, which
`copy` rows (repeated random tokens) and `spell` rows (repeated digits and labels) train.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from bench.data.batches import IGNORED
from bench.data.synthetic.corpus import documents
from bench.data.synthetic.draw import Draw
from bench.data.synthetic.lookup import lookup
from bench.tasks.task import LETTERS

Row = tuple[list[int], list[int]]  # token ids and labels
Part = tuple[torch.Tensor, torch.Tensor]  # a batch's rows of equal length, int64, (rows, tokens)


# Corpus rows must hold a whole story; at that length the circuits did not form.
ROW_TOKENS = {"corpus": 128, "lookup": 64, "copy": 64, "spell": 64}


def schedule_batches(
    phases: Sequence[Mapping[str, float]], step_tokens: int, tokenizer: Any, seed: int
) -> Iterator[list[Part]]:
    """The batches of all phases, each of `step_tokens` tokens.

    A phase has a number of `steps`, and for each of `KINDS` that it uses a share of the tokens.
    Each kind of row is a separate stream that continues across phases.
    """
    streams = {kind: make(tokenizer, ROW_TOKENS[kind], seed) for kind, make in KINDS.items()}
    draw, unit = Draw("schedule", seed), max(ROW_TOKENS.values())
    for phase in phases:
        kinds = [kind for kind in phase if kind != "steps"]
        shares = [phase[kind] for kind in kinds]
        for _ in range(int(phase["steps"])):
            rows: dict[int, list[Row]] = {}
            for kind in (draw.weighted(kinds, shares) for _ in range(step_tokens // unit)):
                length = ROW_TOKENS[kind]
                rows.setdefault(length, []).extend(itertools.islice(streams[kind], unit // length))
            yield [_tensors(rows[length]) for length in sorted(rows)]


def _tensors(rows: list[Row]) -> Part:
    ids, labels = zip(*rows, strict=True)
    return torch.tensor(ids), torch.tensor(labels)


def corpus_rows(tokenizer: Any, row_tokens: int, seed: int) -> Iterator[Row]:
    """Rows cut from a stream of documents `<s> document </s>`; all tokens count in the loss."""
    waiting: list[int] = []
    stream = documents(seed)
    while True:
        for ids in tokenizer(list(itertools.islice(stream, 500)))["input_ids"]:
            waiting += [*ids, tokenizer.eos_token_id]
        whole = len(waiting) // row_tokens * row_tokens
        for start in range(0, whole, row_tokens):
            row = waiting[start : start + row_tokens]
            yield row, row
        waiting = waiting[whole:]


def lookup_rows(tokenizer: Any, row_tokens: int, seed: int) -> Iterator[Row]:
    """Rows of complete lists with queries; the tokens of the answers count in the loss."""
    draw, eos = Draw("lookup", seed), tokenizer.eos_token_id
    row: list[int] = []
    counted: list[int] = []
    while True:
        ids, labels = _encoded_lookup(tokenizer, draw)
        if len(ids) > row_tokens:
            continue
        if len(row) + len(ids) > row_tokens:
            left = row_tokens - len(row)
            yield row + [eos] * left, counted + [IGNORED] * left
            row, counted = [], []
        row, counted = row + ids, counted + labels


def _encoded_lookup(tokenizer: Any, draw: Draw) -> Row:
    made = lookup(draw)
    encoded = tokenizer(made.text, return_offsets_mapping=True)
    ids = encoded["input_ids"]
    labels = [
        token if any(start < right and left < end for left, right in made.answers) else IGNORED
        for token, (start, end) in zip(ids, encoded["offset_mapping"], strict=True)
    ]
    return [*ids, tokenizer.eos_token_id], [*labels, IGNORED]


def copy_rows(tokenizer: Any, row_tokens: int, seed: int) -> Iterator[Row]:
    """Rows that repeat 5 to 12 tokens of the whole vocabulary; all repeats count in the loss."""
    pool = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    return _repeating_rows(Draw("copy", seed), pool, 12, row_tokens)


def spell_rows(tokenizer: Any, row_tokens: int, seed: int) -> Iterator[Row]:
    """Rows that repeat 5 to 30 digits and labels; all repeats count in the loss."""
    text = "0123456789" + "".join(f" {label}" for label in LETTERS)
    pool = tokenizer(text, add_special_tokens=False)["input_ids"]
    return _repeating_rows(Draw("spell", seed), pool, 30, row_tokens)


def _repeating_rows(
    draw: Draw, pool: Sequence[int], longest: int, row_tokens: int
) -> Iterator[Row]:
    while True:
        length = draw.integer(5, longest)
        sequence = [draw.choice(pool) for _ in range(length)]
        row = list(itertools.islice(itertools.cycle(sequence), row_tokens))
        yield row, [IGNORED] * length + row[length:]


KINDS = {"corpus": corpus_rows, "lookup": lookup_rows, "copy": copy_rows, "spell": spell_rows}
