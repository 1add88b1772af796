"""From problems to optimiser steps: tokens, a fixed order, and micro-batches with little padding.

An optimiser step is `batch_size` problems in an order that the seed alone fixes; micro-batches
only split it. So methods that share a seed see the same problems at the same steps, and the
micro-batch size, a matter of memory, changes no result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from bench.data.problems import Problem
from bench.data.prompts import Protocol, training_text

IGNORED = -100  # the label that cross_entropy passes over


@dataclass(frozen=True)
class Example:
    """One training row as tokens: prompt, target, end of sequence; `cut` ones lack the rest."""

    ids: list[int]
    labels: list[int]
    cut: bool = False

    @property
    def first_target(self) -> int:
        """The first position that the loss counts, from 1; the last one where it counts none."""
        counted = (i for i, label in enumerate(self.labels) if i and label != IGNORED)
        return next(counted, len(self.labels) - 1)

    @property
    def targets(self) -> int:
        """How many positions the loss counts; position 0 predicts nothing before it."""
        return sum(label != IGNORED for label in self.labels[1:])


def encode_training(
    problems: list[Problem],
    tokenizer: Any,
    protocol: Protocol,
    context: int,
    train_on_inputs: bool,
) -> tuple[list[Example], int]:
    """Tokenise training rows; rows longer than the limit are left out and counted, or cut.

    Left out are also rows that were cut before the first target.

    Prompt and target are tokenised together, since a tokenizer may join characters across their
    border; the loss then starts behind the tokens that both readings share.

    Args:
        problems: training rows.
        tokenizer: a transformers tokenizer with an end-of-sequence token.
        protocol: its training prompt, target, max_length and what becomes of longer rows.
        context: the most tokens that the model takes.
        train_on_inputs: whether the loss counts the prompt too.

    Returns:
        The examples, which later calls for the same rows share, and how many rows were too long.
    """
    return _encoded(tuple(problems), tokenizer, protocol, context, train_on_inputs)


@lru_cache(maxsize=4)  # a sweep's workers are asked for the same rows in every run
def _encoded(
    problems: tuple[Problem, ...],
    tokenizer: Any,
    protocol: Protocol,
    context: int,
    train_on_inputs: bool,
) -> tuple[list[Example], int]:
    limit = min(context, protocol.max_length or context)
    texts = [training_text(problem, protocol) for problem in problems]
    if not texts:
        return [], 0
    prompts = tokenizer([prompt for prompt, _ in texts])["input_ids"]
    wholes = tokenizer([prompt + target for prompt, target in texts])["input_ids"]
    examples = []
    for prompt, whole in zip(prompts, wholes, strict=True):
        # A protocol's target may end with the token itself.
        end = [] if whole[-1:] == [tokenizer.eos_token_id] else [tokenizer.eos_token_id]
        ids = [*whole, *end]
        if cut := len(ids) > limit:
            if not protocol.cut_long_rows:
                continue
            end = [tokenizer.eos_token_id] if protocol.cut_rows_end else []
            ids = [*whole[:limit], *end][:context]
        shared = next(
            (i for i, pair in enumerate(zip(prompt, ids, strict=False)) if pair[0] != pair[1]),
            len(prompt),
        )
        first = 0 if train_on_inputs else shared
        if first < len(ids):
            examples.append(Example(ids, [IGNORED] * first + ids[first:], cut))
    return examples, len(problems) - len(examples)


def step_order(examples: int, batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """The examples of each optimiser step, by index: passes in random order, cut into steps.

    Every step but possibly the last has `batch_size` examples; a step may span two passes.
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


def batches(rows: list[Example], size: int, pad_id: int) -> Iterator[dict[str, Any]]:
    """So many rows at a time, as `collate` makes them."""
    return (collate(rows[start : start + size], pad_id) for start in range(0, len(rows), size))


class Steps:
    """The optimiser steps of a training, each of which can be had in micro-batches of any size.

    Within a step the rows are sorted by length, so that a micro-batch holds rows of like length
    and little of it is padding.

    Attributes:
        micro_batch_size: rows of a micro-batch; a training lowers it where memory is short.
        ranks: processes that each step's rows are divided among.
    """

    def __init__(
        self,
        examples: list[Example],
        order: list[list[int]],
        micro_batch_size: int,
        pad_id: int,
        ranks: int = 1,
    ) -> None:
        self.examples, self.order, self.ranks = examples, order, ranks
        self.micro_batch_size, self.pad_id = micro_batch_size, pad_id

    def __len__(self) -> int:
        return len(self.order)

    def targets(self, step: int) -> int:
        """How many positions the loss of a step counts: what it is divided by."""
        return sum(self.examples[i].targets for i in self.order[step])

    def micro_batches(self, step: int, rank: int = 0) -> Iterator[dict[str, Any]]:
        """A rank's rows of a step in batches as `collate` makes them, the shortest first."""
        return batches(self._rows(step, rank), self.micro_batch_size, self.pad_id)

    def padding_share(self) -> float:
        """The share of positions in all micro-batches that is padding, 0 to 1."""
        real = total = 0
        for step, rank in itertools.product(range(len(self)), range(self.ranks)):
            lengths = [len(row.ids) for row in self._rows(step, rank)]
            real += sum(lengths)
            for start in range(0, len(lengths), self.micro_batch_size):
                part = lengths[start : start + self.micro_batch_size]
                total += part[-1] * len(part)
        return 1.0 - real / total

    def _rows(self, step: int, rank: int) -> list[Example]:
        """Every rank has rows of all lengths, as many as the others but for one; or none."""
        rows = sorted((self.examples[i] for i in self.order[step]), key=lambda e: len(e.ids))
        return rows[rank :: self.ranks]
