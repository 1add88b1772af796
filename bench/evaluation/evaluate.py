"""Evaluation of a model on test sets: prompt, generate, extract and compare the answer, record.

Each line also has the likelihood of the reference answer.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import tasks
from bench.data.chat import prompt_ids
from bench.data.problems import Problem
from bench.data.prompts import Protocol, evaluation_text, new_tokens
from bench.errors import Failure
from bench.evaluation.answers import agrees, extract
from bench.evaluation.generation import generate
from bench.evaluation.likelihood import answer_nll
from bench.evaluation.predictions import Prediction, append, read
from bench.progress import Progress
from bench.tasks.task import ANSWER_FORMS

_log = logging.getLogger(__name__)


def evaluate(
    model: Any,
    tokenizer: Any,
    tests: dict[str, list[Problem]],
    protocol: Protocol,
    batch_size: int,
    context: int,
    path: Path,
    title: str = "evaluation",
    batching: str = "static",
) -> list[Prediction]:
    """Predict every test row that the file does not contain yet.

    Args:
        model: a causal language model in eval mode.
        tests: test rows by benchmark.
        batch_size: prompts per batch; in float32 it does not change the result.
        context: maximum number of tokens of the model. A prompt that leaves no room for
            the answer is skipped and counts as wrong; its line has a `reason`.
        path: the predictions file. Existing lines are kept.
        batching: see `bench.evaluation.generation.generate`.

    Returns:
        All predictions, those from the file first.
    """
    predictions = read(path)
    done = {(p.task, p.index) for p in predictions}
    asked = {(key, index) for key, problems in tests.items() for index in range(len(problems))}
    if len(done) < len(predictions) or done - asked:
        raise Failure(
            f"{path} has repeated lines, or lines for rows that are not in the test sets: delete "
            "it and repeat the command to evaluate again"
        )
    shared = (model, tokenizer, tests, protocol, batch_size, context)
    nll = answer_nll(*shared, asked - done, title=f"{title}, reference answers")
    with Progress(title, len(asked), "problem", start=len(predictions)) as progress:

        def add(made: list[Prediction]) -> None:
            made = [replace(line, nll=nll.get((line.task, line.index))) for line in made]
            append(path, made)
            predictions.extend(made)
            progress.update(len(made))

        for key, problems in tests.items():
            pending = [i for i in range(len(problems)) if (key, i) not in done]
            texts = [evaluation_text(problems[i], protocol) for i in pending]
            ids = prompt_ids(texts, tokenizer, protocol)
            most = max(new_tokens(problem, protocol) for problem in problems)
            prompts, limit = dict(zip(pending, ids, strict=True)), context - most
            too_long = {i: len(prompt) for i, prompt in prompts.items() if len(prompt) > limit}
            lines = []
            for i, length in too_long.items():
                del prompts[i]
                reason = f"prompt of {length} tokens; the context leaves room for {limit}"
                wrong = judge(key, i, problems[i], "", 0, protocol)
                lines.append(replace(wrong, formatted=False, reason=reason))
            add(lines)
            if too_long:
                _log.warning(
                    "%s: %d of %d prompts count as wrong, because the context of %d tokens leaves "
                    "no room for protocol.max_new_tokens=%d; the shortest of them has %d tokens",
                    key,
                    len(too_long),
                    len(problems),
                    context,
                    most,
                    min(too_long.values()),
                )
            began = time.perf_counter()
            given = (model, tokenizer, prompts, most, batch_size)
            for batch in generate(*given, protocol.answer_end, protocol.num_beams, batching):
                # Recorded per line, so that a resumed run has the total.
                seconds = (time.perf_counter() - began) / len(batch)
                rows = [(g.index, problems[g.index], g.text, g.tokens) for g in batch]
                add([replace(judge(key, *row, protocol), seconds=seconds) for row in rows])
                began = time.perf_counter()
    return predictions


def judge(
    key: str, index: int, problem: Problem, text: str, tokens: int, protocol: Protocol
) -> Prediction:
    """Extract the answer from a text by the protocol's rule and compare it with the gold answer."""
    task = tasks.describe(key, problem.answer)
    prediction = extract(text, task, protocol)
    form = ANSWER_FORMS.get(task.answer, protocol.answer_form)
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
