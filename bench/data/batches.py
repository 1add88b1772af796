"""From problems to optimizer steps: tokens, a fixed order, and micro-batches with little padding.

The problems of a step depend on the seed alone; micro-batches, limited by memory, only split it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from bench.data.chat import training_ids
from bench.data.problems import Problem
from bench.data.prompts import Protocol, training_text

IGNORED = -100  # the ignore_index of cross_entropy
ROWS, TOKENS = "rows", "tokens"  # what the size of a micro-batch counts


@dataclass(frozen=True)
class Example:
    """A tokenized training row: prompt, target, end of sequence or turn; `cut` if truncated."""

    ids: list[int]
    labels: list[int]
    cut: bool = False

    @property
    def first_target(self) -> int:
        """The first position >= 1 that counts in the loss; the last position if none does."""
        counted = (i for i, label in enumerate(self.labels) if i and label != IGNORED)
        return next(counted, len(self.labels) - 1)

    @property
    def targets(self) -> int:
        """Number of positions that count in the loss; position 0 is never predicted."""
        return sum(label != IGNORED for label in self.labels[1:])


@lru_cache(maxsize=4)  # every run of a sweep needs the same rows
def encode_training(
    problems: tuple[Problem, ...],
    tokenizer: Any,
    protocol: Protocol,
    context: int,
    train_on_inputs: bool = False,
) -> tuple[list[Example], int]:
    """Tokenize training rows; those that do not fit are dropped.

    For the other arguments see `encode_rows`.

    Returns:
        The examples, cached and shared between calls, and the number of dropped rows.
    """
    rows = [training_text(problem, protocol) for problem in problems]
    encoded = encode_rows(rows, tokenizer, protocol, context, train_on_inputs)
    examples = [example for example in encoded if example is not None]
    return examples, len(problems) - len(examples)


def encode_rows(
    rows: Sequence[tuple[str, str]],
    tokenizer: Any,
    protocol: Protocol,
    context: int,
    train_on_inputs: bool = False,
) -> list[Example | None]:
    """Tokenize rows, each a prompt and a target; None for a row that does not fit.

    Rows longer than the limit do not fit or are truncated, as the protocol says; a row truncated
    before its first target does not fit, nor does one without a target. Prompt and target are
    tokenized together, because a tokenizer may merge characters across the boundary; the loss
    starts after the tokens that the prompt alone and the whole text share.

    Args:
        rows: prompts and targets.
        tokenizer: a transformers tokenizer with an end-of-sequence token.
        protocol: length limit, and what happens to longer rows.
        context: maximum number of tokens of the model.
        train_on_inputs: whether the prompt counts in the loss.
    """
    if not rows:
        return []
    limit = min(context, protocol.max_length or context)
    examples: list[Example | None] = []
    for prompt, ids in zip(*training_ids(rows, tokenizer, protocol), strict=True):
        if cut := len(ids) > limit:
            if not protocol.cut_long_rows:
                examples.append(None)
                continue
            ids = [*ids[:limit], *(ids[-1:] if protocol.cut_rows_end else [])][:context]
        pairs = enumerate(zip(prompt, ids, strict=False))
        shared = next((i for i, (a, b) in pairs if a != b), len(prompt))
        first = 0 if train_on_inputs else shared
        example = Example(ids, [IGNORED] * first + ids[first:], cut)
        examples.append(example if example.targets else None)
    return examples


def step_order(examples: int, batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """The example indices of each optimizer step: shuffled epochs, concatenated and split.

    All steps except possibly the last have `batch_size` examples; a step may span two epochs.
    """
    wanted = max(1, round(examples * epochs))
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while len(order) < wanted:
        order += torch.randperm(examples, generator=generator).tolist()
    order = order[:wanted]
    return [order[start : start + batch_size] for start in range(0, wanted, batch_size)]


def collate(examples: list[Example], pad_id: int) -> dict[str, Any]:
    """Pad on the right.

    Returns:
        `input_ids`, `attention_mask` and `labels`, int64, (examples, longest); `first_target`, the
        first position that is a target in any row.
    """
    longest = max(len(example.ids) for example in examples)

    def padded(rows: list[list[int]], value: int) -> torch.Tensor:
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    return {
        "input_ids": padded([e.ids for e in examples], pad_id),
        "attention_mask": padded([[1] * len(e.ids) for e in examples], 0),
        "labels": padded([e.labels for e in examples], IGNORED),
        "first_target": min(example.first_target for example in examples),
    }


def split(rows: Sequence[Example], most: int, unit: str = ROWS) -> list[list[Example]]:
    """Successive rows in parts of at most `most` rows, or padded tokens: rows x the longest one.

    A part has at least one row.
    """
    parts: list[list[Example]] = []
    longest = 0
    for row in rows:
        longest = max(longest, len(row.ids))
        count = len(parts[-1]) + 1 if parts else 1
        if not parts or (count if unit == ROWS else count * longest) > most:
            parts.append([])
            longest = len(row.ids)
        parts[-1].append(row)
    return parts


class Steps:
    """The optimizer steps of a training run, each available in micro-batches of any size.

    Within a step, rows are sorted by length, so that micro-batches contain little padding.

    Attributes:
        ranks: number of processes that share the rows of each step.
        unit: `ROWS` or `TOKENS`, what the argument `at_once` of the methods counts.
    """

    def __init__(
        self,
        examples: list[Example],
        order: list[list[int]],
        pad_id: int,
        ranks: int = 1,
        unit: str = ROWS,
    ) -> None:
        self.examples, self.order, self.pad_id = examples, order, pad_id
        self.ranks, self.unit = ranks, unit

    def targets(self, step: int) -> int:
        """Number of positions that count in the loss of a step: its divisor."""
        return sum(self.examples[i].targets for i in self.order[step])

    def micro_batches(self, step: int, at_once: int, rank: int = 0) -> Iterator[dict[str, Any]]:
        """A rank's rows of a step in collated batches, shortest first."""
        return (collate(part, self.pad_id) for part in self._parts(step, at_once, rank))

    def most_micro_batches(self, step: int, at_once: int) -> int:
        """The number of micro-batches of a step of the rank with the most."""
        return max(len(self._parts(step, at_once, rank)) for rank in range(self.ranks))

    def padding_share(self, at_once: int) -> float:
        """Fraction of positions in all micro-batches that are padding."""
        real = total = 0
        for step, rank in itertools.product(range(len(self.order)), range(self.ranks)):
            for part in self._parts(step, at_once, rank):
                real += sum(len(row.ids) for row in part)
                total += len(part[-1].ids) * len(part)
        return 1.0 - real / total

    def _parts(self, step: int, at_once: int, rank: int) -> list[list[Example]]:
        rows = sorted((self.examples[i] for i in self.order[step]), key=lambda e: len(e.ids))
        return split(rows[rank :: self.ranks], at_once, self.unit)
