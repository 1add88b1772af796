"""Likelihood of the reference answers under a model: a score with less noise than accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import torch

from bench import tasks
from bench.data.batches import Example, collate, encode_rows
from bench.data.problems import Problem
from bench.data.prompts import Protocol, evaluation_text, training_text
from bench.evaluation.answers import agrees, extract
from bench.memory import halving
from bench.progress import Progress
from bench.training.loss import target_losses

DIGITS = 5  # after the decimal point: float32 has no more in a sum of logits
LESS_MEMORY = "use model.dtype=bfloat16, or a smaller base"

Row = tuple[str, int]  # a benchmark and an index in its test set


def answer_nll(
    model: Any,
    tokenizer: Any,
    tests: Mapping[str, Sequence[Problem]],
    protocol: Protocol,
    batch_size: int,
    context: int,
    pending: Set[Row],
    title: str,
) -> dict[Row, float]:
    """Mean negative log-likelihood of the reference answers, in nats per token, teacher-forced.

    The prompt is that of the evaluation. The answer is the target of a training row: the protocol's
    text with the end-of-sequence token, under the same limit of length.

    Args:
        model: a causal language model in eval mode.
        tests: test rows by benchmark.
        batch_size: memory limit: a batch has the tokens of that many prompts. Up to rounding it
            does not change the result.
        context: maximum number of tokens of the model.
        pending: the rows that are needed. The batches are those of all rows, so that an evaluation
            that resumes finds the same numbers; those without a pending row are left out.

    Returns:
        The likelihoods by row, without rows whose reference output does not give the gold answer,
        rows that do not fit, and rows whose likelihood is not finite.

    Raises:
        Failure: a single row does not fit in memory.
    """
    if not pending:
        return {}
    problems = {
        (key, index): problem
        for key, rows in tests.items()
        for index, problem in enumerate(rows)
        if _gives_answer(problem, protocol)
    }
    texts = [
        (evaluation_text(p, protocol), training_text(p, protocol)[1]) for p in problems.values()
    ]
    encoded = zip(problems, encode_rows(texts, tokenizer, protocol, context), strict=True)
    examples = {row: example for row, example in encoded if example}
    order = sorted(examples, key=lambda row: (-len(examples[row].ids), row))
    tokens = batch_size * 64  # the length of a typical prompt
    found: dict[Row, float] = {}

    def first(rows: int) -> list[float]:
        batch = [examples[row] for row in order[:rows]]
        nats = summed_nats(model, batch, tokenizer.pad_token_id)
        return [sum_ / example.targets for sum_, example in zip(nats, batch, strict=True)]

    with Progress(title, len(order), "row") as progress:
        while order:
            longest = len(examples[order[0]].ids)
            rows = min(max(1, tokens // longest), len(order))
            if not pending.isdisjoint(order[:rows]):
                nats = halving(first, rows, title, LESS_MEMORY)
                if len(nats) < rows:
                    rows = len(nats)
                    tokens = rows * longest
                found |= zip(order[:rows], nats, strict=True)
            order = order[rows:]
            progress.update(rows)
    return {row: round(value, DIGITS) for row, value in found.items() if math.isfinite(value)}


def _gives_answer(problem: Problem, protocol: Protocol) -> bool:
    """Whether the gold answer is extracted from the reference output.

    In public test files the output is a teacher's rationale, which may end in another answer. The
    rules are those of the scores, except that letters are always read by `released`: by `first`,
    "Answer: C" gives A.
    """
    task = tasks.describe(problem.task, problem.answer)
    found = extract(problem.output, task, replace(protocol, letter_rule="released"))
    return agrees(found, problem.answer, task.answer, protocol)


@torch.inference_mode()
def summed_nats(model: Any, examples: list[Example], pad_id: int) -> list[float]:
    """The cross-entropy of each example, summed over its targets, from one forward pass.

    Padding is on the right: with prefix tuning, left padding gives other numbers.
    """
    device = next(model.parameters()).device
    batch = collate(examples, pad_id)
    on_device = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    losses = target_losses(model, on_device, reduction="none").view(len(examples), -1)
    found: list[float] = losses.double().sum(1).tolist()
    return found
