"""Evaluation of a model on test sets: ask, generate, read the answer, write the line."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import tasks
from bench.data.problems import Problem
from bench.data.prompts import Protocol, evaluation_text, new_tokens
from bench.evaluation.answers import agrees, extract_letter, extract_number, first_choice
from bench.evaluation.generation import generate
from bench.evaluation.predictions import Prediction, append, read
from bench.progress import Progress


def evaluate(
    model: Any,
    tokenizer: Any,
    tests: dict[str, list[Problem]],
    protocol: Protocol,
    batch_size: int,
    context: int,
    path: Path,
    title: str = "evaluation",
) -> list[Prediction]:
    """Predict every test row that the file does not have yet.

    Args:
        model: a causal language model in eval mode.
        tokenizer: its tokenizer.
        tests: test rows by benchmark.
        protocol: prompt, length and answer rule.
        batch_size: prompts at once; in float32 it changes no result.
        context: the most tokens that the model takes; a prompt that leaves no room for
            the answer is not asked, counts as wrong, and says so in its line.
        path: the predictions; lines found there are kept and their rows not asked again.
        title: what the progress is told under.

    Returns:
        All predictions, those that were found in the file first.
    """
    predictions = read(path)
    done = {(p.task, p.index) for p in predictions}
    total = sum(map(len, tests.values()))
    with Progress(title, total, "problem", start=len(predictions)) as progress:
        for key, problems in tests.items():
            open_rows = [i for i in range(len(problems)) if (key, i) not in done]
            texts = [evaluation_text(problems[i], protocol) for i in open_rows]
            ids = tokenizer(texts)["input_ids"] if texts else []
            prompts = dict(zip(open_rows, ids, strict=True))
            most = max(new_tokens(problem, protocol) for problem in problems)
            limit = context - most
            too_long = [
                _not_asked(key, i, problems[i], len(prompts.pop(i)), limit)
                for i in open_rows
                if len(prompts[i]) > limit
            ]
            append(path, too_long)
            predictions += too_long
            progress.update(len(too_long))
            began = time.perf_counter()
            asked = (model, tokenizer, prompts, most, batch_size)
            for batch in generate(*asked, protocol.answer_end, protocol.num_beams):
                # With each line, so that a resume knows what the lines before it took.
                seconds = (time.perf_counter() - began) / len(batch)
                made = [
                    replace(
                        judge(key, g.index, problems[g.index], g.text, g.tokens, protocol),
                        seconds=seconds,
                    )
                    for g in batch
                ]
                append(path, made)
                predictions += made
                progress.update(len(made))
                began = time.perf_counter()
    return predictions


def judge(
    key: str, index: int, problem: Problem, text: str, tokens: int, protocol: Protocol
) -> Prediction:
    """Read the answer from a text by the protocol's rule and compare it with the gold one."""
    task = tasks.describe(key, problem.answer)
    prediction: float | str | None
    if task.answer == "choice":
        prediction = first_choice(text, task.sought, protocol.choice_rule)
    elif task.answer == "letter":
        prediction = extract_letter(text, protocol.letter_rule)
    else:
        prediction = extract_number(text)
    form = tasks.ANSWER_FORMS.get(task.answer, protocol.answer_form)
    return Prediction(
        task=key,
        index=index,
        text=text,
        prediction=prediction,
        answer=problem.answer,
        correct=agrees(prediction, problem.answer, task.answer, protocol),
        formatted=re.search(form, text) is not None,
        tokens=tokens,
        question=problem.question,
    )


def _not_asked(key: str, index: int, problem: Problem, length: int, limit: int) -> Prediction:
    return Prediction(
        task=key,
        index=index,
        text="",
        prediction=None,
        answer=problem.answer,
        correct=False,
        formatted=False,
        tokens=0,
        reason=f"prompt of {length} tokens; the context leaves room for {limit}",
        question=problem.question,
    )
