"""The rows that the embedded base is pretrained on, and the schedule of their kinds.

`corpus` rows are text. `lookup` rows are labelled lists with questions to them; alone they leave a
model guessing among the labels, because finding a label beside a value builds on a simpler circuit,
one that repeats what followed a token before. `copy` rows form that circuit: a random sequence of a
few tokens, repeated. `spell` rows do the same over digits and labels alone, where one token no
longer says which follows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.data.batches import IGNORED
from bench.data.synthetic.corpus import documents
from bench.data.synthetic.draw import Draw
from bench.data.synthetic.lookup import lookup
from bench.tasks.task import LETTERS

Row = tuple[list[int], list[int]]  # token ids, and the labels that the loss counts


@dataclass(frozen=True)
class Phase:
    """So many steps on a mix of rows: `shares` of the tokens by kind."""

    steps: int
    shares: dict[str, float]


# A batch's rows of equal length: ids and labels, int64, (rows, tokens).
Part = tuple[torch.Tensor, torch.Tensor]

# Text needs rows that hold a whole story; in rows as long as those the circuits did not form.
ROW_TOKENS = {"corpus": 128, "lookup": 64, "copy": 64, "spell": 64}


def schedule_batches(
    phases: Sequence[Phase], step_tokens: int, tokenizer: Any, seed: int
) -> Iterator[list[Part]]:
    """The batches of all phases, one after another, each of `step_tokens` tokens.

    Each kind of row is a stream of its own that goes on through the phases.
    """
    streams = {kind: make(tokenizer, ROW_TOKENS[kind], seed) for kind, make in KINDS.items()}
    draw, unit = Draw("schedule", seed), max(ROW_TOKENS.values())
    for phase in phases:
        kinds, shares = tuple(phase.shares), tuple(phase.shares.values())
        for _ in range(phase.steps):
            rows: dict[int, list[Row]] = {}
            for kind in (draw.weighted(kinds, shares) for _ in range(step_tokens // unit)):
                length = ROW_TOKENS[kind]
                rows.setdefault(length, []).extend(itertools.islice(streams[kind], unit // length))
            yield [_tensors(rows[length]) for length in sorted(rows)]


def _tensors(rows: list[Row]) -> Part:
    ids, labels = zip(*rows, strict=True)
    return torch.tensor(ids), torch.tensor(labels)


def corpus_rows(tokenizer: Any, row_tokens: int, seed: int) -> Iterator[Row]:
    """Rows cut from a stream of documents, `<s> document </s>` after another; all tokens count."""
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
    """Rows of whole lists with their questions; the answers' tokens count."""
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


def copy_rows(tokenizer: Any, row_tokens: int, seed: int) -> Iterator[Row]:
    """Rows that repeat 5 to 12 tokens of the whole vocabulary; all repeats count."""
    pool = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    return _repeating_rows(Draw("copy", seed), pool, 12, row_tokens)


def spell_rows(tokenizer: Any, row_tokens: int, seed: int) -> Iterator[Row]:
    """Rows that repeat 5 to 30 digits and labels; all repeats count."""
    text = "0123456789" + "".join(f" {label}" for label in LETTERS)
    pool = tokenizer(text, add_special_tokens=False)["input_ids"]
    return _repeating_rows(Draw("spell", seed), pool, 30, row_tokens)


KINDS = {"corpus": corpus_rows, "lookup": lookup_rows, "copy": copy_rows, "spell": spell_rows}


def _repeating_rows(
    draw: Draw, pool: Sequence[int], longest: int, row_tokens: int
) -> Iterator[Row]:
    while True:
        length = draw.integer(5, longest)
        sequence = [draw.choice(pool) for _ in range(length)]
        row = list(itertools.islice(itertools.cycle(sequence), row_tokens))
        yield row, [IGNORED] * length + row[length:]


def _encoded_lookup(tokenizer: Any, draw: Draw) -> Row:
    made = lookup(draw)
    encoded = tokenizer(made.text, return_offsets_mapping=True)
    ids = encoded["input_ids"]
    labels = [
        token if any(start < right and left < end for left, right in made.answers) else IGNORED
        for token, (start, end) in zip(ids, encoded["offset_mapping"], strict=True)
    ]
    return [*ids, tokenizer.eos_token_id], [*labels, IGNORED]
