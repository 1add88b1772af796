"""Speed of the ways of batching in greedy decoding, which write the same answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bench.data.problems import Problem
from bench.data.prompts import Protocol, evaluation_text, new_tokens
from bench.efficiency.timing import compare, interleave, speed
from bench.evaluation.decoding import why_not_continuous
from bench.evaluation.generation import generate

STATIC, CONTINUOUS = "static", "continuous"


def measure_batching(
    model: Any,
    tokenizer: Any,
    tests: Mapping[str, list[Problem]],
    protocol: Protocol,
    count: int,
    batch_size: int,
    context: int,
    rounds: int,
) -> dict[str, Any] | None:
    """Answer the same prompts in static and in continuous batches, in turn.

    Args:
        count: number of problems, the first of all sets that fit the context.
        batch_size: prompts at once.

    Returns:
        Plain data: by way of batching prompts per second and the ratio to static batches (median
        and quartiles over rounds); tokens per answer, and the answers whose text is the same; or
        the `reason` why there are no continuous batches. None if no problem fits.
    """
    problems = [problem for rows in tests.values() for problem in rows]
    most = max((new_tokens(problem, protocol) for problem in problems), default=0)
    ids = tokenizer([evaluation_text(p, protocol) for p in problems])["input_ids"]
    prompts = dict(enumerate([prompt for prompt in ids if len(prompt) <= context - most][:count]))
    if not prompts:
        return None
    texts: dict[str, dict[int, tuple[str, int]]] = {}

    def decode(batching: str) -> None:
        batches = generate(model, tokenizer, prompts, most, batch_size, batching=batching)
        texts[batching] = {g.index: (g.text, g.tokens) for batch in batches for g in batch}

    reason = why_not_continuous(model)
    ways = [STATIC] if reason else [STATIC, CONTINUOUS]
    loops: dict[str, Callable[[], None]] = {way: partial(decode, way) for way in ways}
    timings = compare(interleave("ways of batching", loops, rounds), STATIC)
    same = sum(texts[STATIC][i] == texts[ways[-1]][i] for i in prompts)
    return {
        "prompts": len(prompts),
        "batch_size": min(batch_size, len(prompts)),
        "tokens": sum(tokens for _, tokens in texts[STATIC].values()) / len(prompts),
        "same_texts": same,
        "reason": reason,
        "loops": {
            way: {"problems_per_second": len(prompts) / timing["median"], **speed(timing)}
            for way, timing in timings.items()
        },
    }
