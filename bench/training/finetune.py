"""Fine-tuning of an adapter with Lightning on CPU or GPU; a killed run resumes exactly."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import Strategy
from peft import PeftConfig, get_peft_model

from bench.data.batches import Example, Steps, step_order
from bench.methods import quiet_peft
from bench.models.loading import load_base
from bench.models.settings import ModelSettings
from bench.training.activations import checkpointing
from bench.training.callbacks import ShowProgress, Validate
from bench.training.loop import train_module
from bench.training.module import FineTuning, without_frozen
from bench.training.ranks import Watch, train_in_ranks
from bench.training.resume import SaveState
from bench.training.settings import TrainSettings


@dataclass
class FineTuned:
    """Result of a fine-tuning, for the record.

    Attributes:
        steps: optimiser steps.
        seconds: wall time of all of them, including those before a resume.
        padding: share of the positions that is padding, 0 to 1.
        target_tokens: tokens that the loss counts, over all steps.
        micro_batch_size: rows in a forward pass at the end; fewer than asked for if memory was
            short.
        losses: (step, training loss of the step) at up to 100 steps.
        validation: (step, validation loss), both per target token.
        kept_step: the step whose adapter is kept: the last one, or the best.
        peak_bytes: peak GPU memory since the last resume; None on a CPU and on several devices.
    """

    steps: int
    seconds: float
    padding: float
    target_tokens: int
    micro_batch_size: int
    losses: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    kept_step: int = 0
    peak_bytes: int | None = None


@dataclass(frozen=True)
class _Job:
    """Arguments of `finetune` as plain data that another process can be sent."""

    examples: list[Example]
    validation: list[Example]
    settings: TrainSettings
    seed: int
    pad_id: int
    title: str

    @property
    def steps(self) -> Steps:
        s = self.settings
        order = step_order(len(self.examples), s.batch_size, s.epochs, self.seed)
        rows = min(s.micro_batch_size, s.batch_size)
        return Steps(self.examples, order, rows, self.pad_id, s.devices)


def finetune(
    model: Any,
    examples: list[Example],
    validation: list[Example],
    settings: TrainSettings,
    seed: int,
    pad_id: int,
    checkpoints: Path | None = None,
    title: str = "fine-tuning",
    watch: Watch | None = None,
    base: ModelSettings | None = None,
) -> FineTuned:
    """Train the parameters of a model that require a gradient.

    Args:
        model: a causal language model with an adapter, on the device to train on.
        seed: fixes the order of the problems and the randomness of each step.
        checkpoints: folder of the saved state; a state found there is resumed.
        watch: called with (step, validation loss) after each validation; an exception that it
            raises ends the training.
        base: the model's base, which each process loads if several devices share the training.

    Returns:
        The result; the model is trained in place and left in eval mode.

    Raises:
        ValueError: there is no training row or no trainable parameter, or `base` is missing for
            several devices.
        FloatingPointError: the loss is NaN or infinite.
        Failure: a forward and backward pass of a single row does not fit in memory.
        Terminated: the process received SIGTERM; the last saved state is kept.
    """
    if not examples:
        raise ValueError("there is no training row that fits the model's context")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("the model has no parameter that requires a gradient")
    job = _Job(examples, validation, settings, seed, pad_id, title)
    gpu = model.device if model.device.type == "cuda" and settings.devices == 1 else None
    if gpu is not None:
        torch.cuda.reset_peak_memory_stats(gpu)
    with tempfile.TemporaryDirectory() as folder:
        state = checkpoints / "last.ckpt" if checkpoints else None
        if settings.devices > 1:
            if base is None:
                raise ValueError("on several devices each rank loads the base: give base=")
            state = state or Path(folder) / "last.ckpt"
            weights = {n: w.cpu() for n, w in without_frozen(model, model.state_dict()).items()}
            rank = partial(_train_rank, base, model.peft_config[model.active_adapter], weights, job)
            device = model.device.type
            train_in_ranks(rank, settings.devices, len(job.steps), device, state, watch)
        module = _train(model, job, state, watch)
    steps = module.steps
    return FineTuned(
        steps=len(steps),
        seconds=module.seconds,
        padding=steps.padding_share(),
        target_tokens=sum(examples[i].targets for step in steps.order for i in step),
        micro_batch_size=steps.micro_batch_size,
        losses=module.losses,
        validation=module.validation,
        kept_step=module.best.step or len(steps),
        peak_bytes=None if gpu is None else torch.cuda.max_memory_allocated(gpu),
    )


def _train_rank(
    base: ModelSettings,
    adapter: PeftConfig,
    weights: dict[str, torch.Tensor],
    job: _Job,
    device: torch.device,
    state: Path,
    watch: Watch | None,
    strategy: Strategy,
) -> None:
    model, _ = load_base(base, device)
    with quiet_peft():
        model = get_peft_model(model, adapter)
    model.load_state_dict(weights, strict=False)
    _train(model, job, state, watch, strategy)


def _train(
    model: Any,
    job: _Job,
    state: Path | None,
    watch: Watch | None,
    strategy: str | Strategy = "auto",
) -> FineTuning:
    """Train in one process: alone, or as one rank of several."""
    settings = job.settings
    module = FineTuning(model, settings, job.steps, job.seed, job.title)
    callbacks: list[Any] = [ShowProgress(job.title)]
    if job.validation and settings.validated:
        callbacks.append(Validate(job.validation, settings, watch))
    several, minutes = settings.devices > 1, settings.checkpoint_minutes
    model.train()
    with checkpointing(model, settings.gradient_checkpointing):
        train_module(
            module,
            callbacks,
            SaveState(state, minutes, at_end=several) if state else None,
            next(model.parameters()).device,
            settings.precision,
            devices=settings.devices,
            strategy=strategy,
        )
    module.best.restore(module)
    model.eval()
    return module
