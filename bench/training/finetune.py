"""Fine-tuning an adapter with Lightning, on CPU or GPU; a killed run goes on where it was."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.strategies import Strategy
from peft import PeftConfig, get_peft_model

from bench.data.batches import Example
from bench.methods import quiet_peft
from bench.models.loading import load_base
from bench.models.settings import ModelSettings
from bench.training.loop import Work, train
from bench.training.module import without_frozen
from bench.training.ranks import AddsUpOnce, Watch, train_in_ranks
from bench.training.settings import TrainSettings

if TYPE_CHECKING:
    import torch


@dataclass
class FineTuned:
    """What fine-tuning did, for the record.

    Attributes:
        steps: optimiser steps.
        seconds: wall time of all of them, the parts before a resume included.
        padding: share of the positions that was padding, 0 to 1.
        losses: (step, training loss of the step) at up to 100 steps.
        validation: (step, validation loss), both per target token.
        kept_step: after which the adapter was as it is kept: the last one, or the best.
        target_tokens: tokens that the loss counted, over all steps.
        micro_batch_size: rows in a forward pass at the end; less than asked for where memory did
            not hold so many.
        peak_bytes: the most that the GPU held at once since the training was last taken up; None
            on a processor, and where several devices shared the work.
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
class _Shared:
    """An adapter's training as ranks share it: see `bench.training.ranks.Shared`.

    Attributes:
        base: the model's base, which every rank loads on its device.
        adapter: its configuration.
        weights: what it starts with.
        work: what to train on.
    """

    base: ModelSettings
    adapter: PeftConfig
    weights: dict[str, torch.Tensor]
    work: Work

    @property
    def devices(self) -> int:
        return self.work.settings.devices

    @property
    def steps(self) -> int:
        return len(self.work.steps)

    @property
    def strategy(self) -> type[AddsUpOnce]:
        return AddsUpOnce

    def train(
        self, device: torch.device, state: Path, watch: Watch | None, strategy: Strategy
    ) -> None:
        base, _ = load_base(self.base, device)
        with quiet_peft():
            model = get_peft_model(base, self.adapter)
        model.load_state_dict(self.weights, strict=False)
        train(model, self.work, state, watch, strategy)


def finetune(
    model: Any,
    examples: list[Example],
    validation: list[Example],
    settings: TrainSettings,
    seed: int,
    pad_id: int,
    checkpoints: Path | None = None,
    title: str = "fine-tuning",
    watch: Callable[[int, float], None] | None = None,
    base: ModelSettings | None = None,
) -> FineTuned:
    """Train the parameters of a model that require a gradient.

    Args:
        model: a causal language model with an adapter, on the device to train on.
        examples: encoded training rows.
        validation: encoded validation rows; may be empty.
        settings: see TrainSettings; the precision may be `auto`.
        seed: fixes the order of the problems and the randomness of each step.
        pad_id: token id to pad with.
        checkpoints: folder of the state for a resume; a state found there is gone on from.
        title: what the progress is told under.
        watch: called with (step, validation loss) whenever one is taken; what it raises ends the
            training.
        base: the model's base, as the processes that share the work on several devices load it.

    Returns:
        What was done; the model is trained in place and left in eval mode.

    Raises:
        ValueError: there is nothing to train on, or nothing to train; for several devices `base`
            is not given.
        FloatingPointError: the loss is no longer a number.
        Failure: a forward and backward pass of one row alone does not fit in memory.
        Terminated: the process was told to end; the last saved state stays.
    """
    import torch

    if not examples:
        raise ValueError("there is no training row that fits the model's context")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("the model has no parameter that requires a gradient")
    work = Work(examples, validation, settings, seed, pad_id, title)
    gpu = model.device if model.device.type == "cuda" and settings.devices == 1 else None
    if gpu is not None:
        torch.cuda.reset_peak_memory_stats(gpu)
    with tempfile.TemporaryDirectory() as folder:
        state = checkpoints / "last.ckpt" if checkpoints else None
        if settings.devices > 1:
            state = state or Path(folder) / "last.ckpt"
            train_in_ranks(_shared(model, base, work), model.device.type, state, watch)
        module = train(model, work, state, watch)
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


def _shared(model: Any, base: ModelSettings | None, work: Work) -> _Shared:
    if base is None:
        raise ValueError("on several devices the ranks load the base themselves: give base=")
    weights = {n: w.cpu() for n, w in without_frozen(model, model.state_dict()).items()}
    return _Shared(base, model.peft_config[model.active_adapter], weights, work)
