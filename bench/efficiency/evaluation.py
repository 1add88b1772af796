"""Speed of our evaluation compared with the published loop, and agreement of their predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench import tasks
from bench.data.batches import encode_training
from bench.data.problems import Problem
from bench.data.prompts import Protocol, evaluation_text, new_tokens
from bench.efficiency import published_loop
from bench.efficiency.cases import read_conf
from bench.efficiency.throughput import LORA, one_process
from bench.efficiency.timing import compare, interleave, speed
from bench.errors import InputError
from bench.evaluation.answers import agrees
from bench.evaluation.evaluate import evaluate
from bench.methods import attach
from bench.models.loading import context_length
from bench.training.finetune import finetune
from bench.training.settings import TrainSettings

PUBLISHED, SAME = "published loop", "llm_adapters"
CHUNK = 25  # problems between changes of the loop: a batch of ours, seconds of theirs


class Answer(NamedTuple):
    """A loop's result for one problem; the prediction is None if it extracted none."""

    text: str
    prediction: float | str | None
    correct: bool
    tokens: int


Loop = Callable[[str, list[Problem]], list[Answer]]


def compared_protocols(max_new_tokens: int) -> dict[str, Protocol]:
    """The protocols under which ours is timed, with this limit of new tokens."""
    limit = {"max_new_tokens": max_new_tokens}
    return {name: Protocol(**(read_conf("protocol", name) | limit)) for name in (SAME, "fast")}


def fine_tuned(
    base: Any,
    tokenizer: Any,
    problems: list[Problem],
    protocols: Mapping[str, Protocol],
    settings: TrainSettings,
    epochs: float,
) -> Any:
    """The base with one LoRA adapter, trained on every problem under each protocol's prompt.

    An untrained model generates up to the limit under either prompt; a fine-tuned one ends after
    its answer. The base is changed; of the settings all but the length are used.
    """
    context, examples = context_length(base), []
    for protocol in protocols.values():
        examples += encode_training(tuple(problems), tokenizer, protocol, context)[0]
    torch.manual_seed(0)
    model = attach(base, "lora", LORA)
    brief = one_process(settings, epochs)
    finetune(model, examples, [], brief, 0, tokenizer.pad_token_id, title="LoRA to be evaluated")
    return model


def measure_evaluation(
    model: Any,
    tokenizer: Any,
    tests: Mapping[str, list[Problem]],
    protocols: Mapping[str, Protocol],
    count: int,
    batch_size: int,
    context: int,
    chunk: int = CHUNK,
) -> dict[str, Any]:
    """Evaluate the same problems with the published loop and with ours, in turn.

    Each chunk of a test set is evaluated by all loops in a random order before the next one, so
    that other load on the machine is spread over all of them. Choices such as `answer2`, for which
    there is another published loop, are left out.

    Args:
        protocols: of our evaluation, `llm_adapters` among them, whose limit of new tokens also
            applies to the published loop.
        count: number of problems, spread evenly over the sets; those that do not fit are then left
            out.
        batch_size: of ours; at most a chunk.

    Returns:
        Plain data: for each loop speed, the ratio to the published loop's (median and quartiles
        over chunks), tokens per problem and accuracy; and how many predictions and texts of
        `llm_adapters` equal the published loop's, with those that differ.

    Raises:
        InputError: there is no such problem.
    """
    selected = _first(tests, count)
    fitting = {
        key: [p for p in rows if _fits(p, tokenizer, protocols, context)]
        for key, rows in selected.items()
    }
    chunks = [(key, part) for key, rows in fitting.items() for part in _parts(rows, chunk)]
    limit = protocols[SAME].max_new_tokens
    if not chunks:
        raise InputError(
            "action.evaluation_problems: no test row has a number or a letter as its answer and "
            f"fits the base's context of {context} tokens with the published prompts and {limit} "
            "new tokens"
        )
    loops = {PUBLISHED: partial(_published, model, tokenizer, protocols[SAME])}
    for name, protocol in protocols.items():
        loops[name] = partial(_ours, model, tokenizer, protocol, batch_size, context)
    answers, seconds = _in_turn(loops, chunks)
    problems = [(key, problem) for key, rows in chunks for problem in rows]
    pairs = list(zip(answers[PUBLISHED], answers[SAME], strict=True))
    differing = [
        {"task": key, "instruction": problem.instruction, "published": a.text, "ours": b.text}
        for (key, problem), (a, b) in zip(problems, pairs, strict=True)
        if a.prediction != b.prediction
    ]
    total, largest = len(problems), max(len(rows) for _, rows in chunks)
    per_problem = {
        name: [s / len(rows) for s, (_, rows) in zip(own, chunks, strict=True)]
        for name, own in seconds.items()
    }
    return {
        "problems": total,
        "asked": sum(map(len, selected.values())),
        "sets": {key: len(rows) for key, rows in fitting.items() if rows},
        "chunk": largest,
        "batch_size": min(batch_size, largest),
        "max_new_tokens": limit,
        "loops": {
            name: {
                "problems_per_second": total / sum(seconds[name]),
                **speed(timing),
                "tokens": sum(a.tokens for a in answers[name]) / total,
                "at_limit": sum(a.tokens >= limit for a in answers[name]),
                "accuracy": 100.0 * sum(a.correct for a in answers[name]) / total,
            }
            for name, timing in compare(per_problem, PUBLISHED).items()
        },
        "same_predictions": total - len(differing),
        "same_texts": sum(a.text == b.text for a, b in pairs),
        "differing": differing,
    }


def _first(tests: Mapping[str, list[Problem]], count: int) -> dict[str, list[Problem]]:
    """The first problems of the sets, one of each in turn."""
    able = {
        key: rows
        for key, rows in tests.items()
        if rows and tasks.describe(key, rows[0].answer).answer != "choice"
    }
    turns = [(i, key) for key, rows in able.items() for i in range(len(rows))]
    taken = [key for _, key in sorted(turns, key=lambda turn: turn[0])[:count]]
    return {key: rows[: taken.count(key)] for key, rows in able.items()}


def _parts(rows: list[Problem], most: int) -> list[list[Problem]]:
    """Rows in parts of nearly equal size: a small last one would favour the published loop."""
    count = -(-len(rows) // most)
    return [rows[i * len(rows) // count : (i + 1) * len(rows) // count] for i in range(count)]


def _fits(
    problem: Problem, tokenizer: Any, protocols: Mapping[str, Protocol], context: int
) -> bool:
    """Whether a problem fits the context in every loop; the published one would raise."""
    return all(
        len(tokenizer(evaluation_text(problem, protocol))["input_ids"])
        <= context - new_tokens(problem, protocol)
        for protocol in protocols.values()
    )


def _in_turn(
    loops: Mapping[str, Loop], chunks: list[tuple[str, list[Problem]]]
) -> tuple[dict[str, list[Answer]], dict[str, list[float]]]:
    """Each loop's answers to the chunks, and its seconds for each of them."""
    key, rows = chunks[0]
    warm_up = [(key, rows[:1])] * 2  # interleave calls each workload twice before it is timed
    answers: dict[str, list[list[Answer]]] = {name: [] for name in loops}

    def workload(name: str) -> Callable[[], None]:
        given = iter([*warm_up, *chunks])
        return lambda: answers[name].append(loops[name](*next(given)))

    workloads = {name: workload(name) for name in loops}
    seconds = interleave("evaluation vs. the published loop", workloads, len(chunks))
    return {name: list(chain(*own[2:])) for name, own in answers.items()}, seconds


def _published(
    model: Any, tokenizer: Any, protocol: Protocol, key: str, rows: list[Problem]
) -> list[Answer]:
    found = []
    for problem in rows:
        kind = tasks.describe(key, problem.answer).answer
        text, tokens = published_loop.generate(model, tokenizer, problem, protocol.max_new_tokens)
        read = published_loop.letter_in if kind == "letter" else published_loop.number_in
        prediction = read(text)
        correct = agrees(prediction, problem.answer, kind, protocol)
        found.append(Answer(text, prediction, correct, tokens))
    return found


def _ours(
    model: Any,
    tokenizer: Any,
    protocol: Protocol,
    batch_size: int,
    context: int,
    key: str,
    rows: list[Problem],
) -> list[Answer]:
    """A whole evaluation as in a run, including its file of predictions."""
    size = min(batch_size, len(rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.jsonl"
        made = evaluate(model, tokenizer, {key: rows}, protocol, size, context, path)
    made.sort(key=lambda prediction: prediction.index)
    return [Answer(p.text.strip(), p.prediction, p.correct, p.tokens) for p in made]
