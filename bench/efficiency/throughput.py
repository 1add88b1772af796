"""Speed of the fine-tuning loop compared with a plain transformers Trainer."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from bench.data.batches import IGNORED, Example, collate, step_order
from bench.efficiency.cases import Case, base_of
from bench.efficiency.timing import UNTIMED, compare, interleave, speed
from bench.identity import EXACT
from bench.methods import attach
from bench.models.loading import pick_device
from bench.models.shared import with_shared_weights
from bench.training.finetune import finetune
from bench.training.loop import resolve_precision
from bench.training.settings import TrainSettings

MOST_STEPS = 100
OURS, THEIRS = "this loop", "transformers Trainer"
LORA: dict[str, Any] = {
    "r": 16,
    "lora_alpha": 32,
    "target_modules": ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"],
}


def measure_throughput(
    base: Any,
    examples: list[Example],
    settings: TrainSettings,
    pad_id: int,
    rounds: int = 5,
) -> dict[str, Any]:
    """Train LoRA on the same rows in the same steps with both loops, in turn.

    Both take the same optimiser steps at the same constant learning rate, so that their losses must
    agree. The Trainer takes the problems of a step in one batch, its default. Of the settings,
    batch sizes, learning rate, clipping and precision are used. The models are made before the
    clock runs, over the base's weights.

    Returns:
        Plain data: tokens per second of each loop and their ratio, the model's own arithmetic as a
        share of the device's measured matrix product rate, and the largest relative difference
        between the two loss curves.
    """
    constant = replace(one_process(settings, 1.0), warmup=0.0, decay="constant", weight_decay=0.0)
    constant = replace(constant, micro_tokens=None)
    device = next(base.parameters()).device
    order = step_order(len(examples), settings.batch_size, 1.0, seed=0)
    models = [_lora(base) for _ in range(2 * (rounds + UNTIMED))]
    tokens = sum(len(example.ids) for example in examples)
    flops = tokens * _flops_a_token(models[0])
    curves: dict[str, list[float]] = {}

    def ours() -> None:
        title = "fine-tuning loop vs. Trainer"
        done = finetune(models.pop(), examples, [], constant, 0, pad_id, title=title)
        curves[OURS] = [loss for _, loss in done.losses]

    def theirs() -> None:
        curves[THEIRS] = _train_with_trainer(models.pop(), examples, order, constant, pad_id)

    loops: dict[str, Callable[[], None]] = {OURS: ours, THEIRS: theirs}
    timings = compare(interleave("loop vs. Trainer", loops, rounds), THEIRS)
    rate = matmul_rate(device, resolve_precision(settings.precision, device))
    # Our losses are those of evenly spaced steps, the Trainer's of all.
    stride = -(-len(curves[THEIRS]) // len(curves[OURS])) if curves[OURS] else 1
    pairs = zip(curves[OURS], curves[THEIRS][::stride], strict=True)
    return {
        "rows": len(examples),
        "tokens": tokens,
        "steps": len(order),
        "batch_size": settings.batch_size,
        "micro_batch_size": settings.micro_batch_size,
        "rounds": rounds,
        "loops": {
            name: {
                "tokens_per_second": tokens / timing["median"],
                **speed(timing),
                "utilisation": flops / timing["median"] / rate,
            }
            for name, timing in timings.items()
        },
        "matmul_flops_per_second": rate,
        "loss_difference": max(abs(a - b) / abs(b) for a, b in pairs),
    }


def measure_case(
    case: Case, settings: TrainSettings, rounds: int, seconds: float
) -> dict[str, Any]:
    """`measure_throughput` on a case's base and on random rows of 64 to 256 tokens.

    Args:
        case: one that has a `config`.
        seconds: about how long both loops may take together, in all rounds; they take at least two
            steps each.
    """
    device = pick_device()
    precision = resolve_precision(settings.precision, device)
    base = base_of(case, torch.float32 if precision == EXACT else torch.bfloat16, device)
    draw = random.Random(0)

    def rows(count: int) -> list[Example]:
        drawn = ([draw.randrange(3, case.vocabulary) for _ in range(draw.randrange(64, 257))]
                 for _ in range(count))  # fmt: skip
        return [Example(ids, [IGNORED] * 32 + ids[32:]) for ids in drawn]

    models = [_lora(base) for _ in range(1 + UNTIMED)]

    def one_step() -> None:
        finetune(models.pop(), rows(settings.batch_size), [], once, 0, 0, title=case.name)

    once = one_process(settings, 1.0)
    (one,) = interleave(f"{case.name}: one step", {"step": one_step}, 1)["step"]
    steps = max(2, round(seconds / one / 2 / (rounds + UNTIMED)))
    examples = rows(min(steps, MOST_STEPS) * settings.batch_size)
    found = measure_throughput(base, examples, settings, 0, rounds)
    return {"model": case.name, "data": ["random tokens"], **found}


def one_process(settings: TrainSettings, epochs: float) -> TrainSettings:
    """The settings for a training of this length in one process, without validation."""
    alone = replace(settings, keep="last", devices=1, sharded=False)
    return replace(alone, epochs=epochs, validations=0, validate_every=None)


def _lora(base: Any) -> Any:
    torch.manual_seed(0)
    return attach(with_shared_weights(base), "lora", LORA)


def _train_with_trainer(
    model: Any,
    examples: list[Example],
    order: list[list[int]],
    settings: TrainSettings,
    pad_id: int,
) -> list[float]:
    """Train with a Trainer that differs in the order of the rows and in logging alone."""
    import transformers
    from torch.utils.data import SequentialSampler

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(rows)

    rows: list[Any] = [examples[i] for step in order for i in step]

    def batch(members: list[Example]) -> dict[str, Any]:
        made = collate(members, pad_id)
        made.pop("first_target")
        return made

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder,
            per_device_train_batch_size=settings.batch_size,
            num_train_epochs=1,
            learning_rate=settings.lr,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=settings.gradient_clip,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            bf16=resolve_precision(settings.precision, model.device) == "bf16-mixed",
            use_cpu=model.device.type == "cpu",
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)  # of several GPUs it would use all for a step
        trainer = InOrder(model=model, args=arguments, train_dataset=rows, data_collator=batch)
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _flops_a_token(model: Any) -> float:
    """Floating-point operations of a training step per token, without attention's products.

    Per weight 2 forward and 2 backward to the activations, and 2 more if it is trained.
    """
    weights = [(p.numel(), p.requires_grad) for p in model.parameters() if p.ndim == 2]
    embedding = model.get_input_embeddings().weight.numel()
    tied = model.config.get_text_config().tie_word_embeddings
    total = sum((6 if trained else 4) * count for count, trained in weights)
    return float(total if tied else total - 4 * embedding)


def matmul_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations per second of a large matrix product on a device."""
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=dtype)
    seconds = interleave("matrix product", {"product": lambda: a @ a}, 7, {"product": 3})["product"]
    return 2 * size**3 / min(seconds)
