"""A few steps and tokens of a run, to estimate how long all of it would take."""

from __future__ import annotations

import time
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from bench.sweep.jobs import Job

if TYPE_CHECKING:
    from bench.sweep.plan import Speed

STEPS = 4  # optimiser steps that are timed, after one warm-up
TOKENS = 16  # generated for a batch of prompts


def try_out(job: Job) -> Speed:
    """The speed of a job's kind of run, measured here; nothing is kept.

    Answers are assumed to be as long as those of the training rows; those of a base that is not
    trained half-way to the limit.
    """
    from bench.experiment import prepare
    from bench.methods import attach
    from bench.models.loading import load_base, pick_device
    from bench.sweep.plan import Speed

    began = time.perf_counter()
    experiment = job.experiment
    problems = prepare(experiment).problems
    base, tokenizer = load_base(experiment.model, pick_device())
    sample = [tokenizer(p.instruction)["input_ids"] for p in problems.validation[:16]]
    model = attach(base, experiment.method.module, experiment.method.options, sample)
    rest = time.perf_counter() - began
    training = 0.0
    if problems.train:
        # A validation row costs a forward pass, about a third of a training row.
        rows = len(problems.train) * experiment.train.epochs
        steps = max(1, round(rows / experiment.train.batch_size))
        times = sum(experiment.train.validates(step, steps) for step in range(1, steps + 1))
        validated = times * len(problems.validation) / 3
        training = _training(experiment, model, tokenizer, problems.train) * (1 + validated / rows)
    evaluation = _evaluation(experiment, model, tokenizer, problems)
    return Speed(training, evaluation, rest, f"{STEPS} steps and {TOKENS} tokens, measured now")


def _training(experiment: Any, model: Any, tokenizer: Any, rows: list[Any]) -> float:
    """Seconds per training row: median over steps."""
    from lightning.fabric.utilities import move_data_to_device

    from bench.data.batches import Steps, encode_training, step_order
    from bench.models.loading import context_length
    from bench.training.activations import checkpointing
    from bench.training.loss import target_loss

    settings = experiment.train
    examples, _ = encode_training(
        rows, tokenizer, experiment.protocol, context_length(model), settings.train_on_inputs
    )
    order = step_order(len(examples), settings.batch_size, settings.epochs, experiment.seed)
    steps = Steps(examples, order, settings.micro_batch_size, tokenizer.pad_token_id)
    device = next(model.parameters()).device
    model.train()
    seconds = []
    for step in range(min(STEPS + 1, len(steps))):
        began = time.perf_counter()
        with checkpointing(model, settings.gradient_checkpointing):
            for micro_batch in steps.micro_batches(step):
                loss = target_loss(model, move_data_to_device(micro_batch, device))
                (loss / steps.targets(step)).backward()
        for parameter in model.parameters():
            parameter.grad = None
        seconds.append((time.perf_counter() - began) / len(order[step]))
    return median(seconds[1:] or seconds)


def _evaluation(experiment: Any, model: Any, tokenizer: Any, problems: Any) -> float:
    """Seconds per evaluated row: time of a token times the tokens of its batch."""
    from bench.data.prompts import evaluation_text, new_tokens
    from bench.evaluation.generation import generate

    model.eval()
    size, beams = experiment.evaluation.batch_size, experiment.protocol.num_beams
    asked = [p for rows in problems.split(experiment.evaluation.split).values() for p in rows]
    limit = max(new_tokens(problem, experiment.protocol) for problem in asked[:size])
    texts = [evaluation_text(problem, experiment.protocol) for problem in asked[:size]]
    prompts = dict(enumerate(tokenizer(texts)["input_ids"]))
    tokens = min(TOKENS, limit)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        batches = generate(model, tokenizer, prompts, tokens, size, num_beams=beams)
        made = [g for batch in batches for g in batch]
        seconds.append((time.perf_counter() - began) / max(1, max(g.tokens for g in made)))
    lengths = [len(tokenizer(p.output)["input_ids"]) for p in problems.train[:200]]
    # A batch takes as long as its longest answer.
    longest = sorted(lengths)[-max(1, len(lengths) // size)] if lengths else limit
    expected = fmean([longest, limit]) if not lengths else min(longest, limit)
    return min(seconds) * expected / len(texts)
