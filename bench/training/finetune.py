"""Fine-tuning of an adapter with Lightning on CPU or GPU; a killed run resumes exactly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting

from bench.data.batches import IGNORED, ROWS, TOKENS, Example, Steps, collate, split, step_order
from bench.methods import quiet_peft
from bench.models.compiled import compiled
from bench.models.loading import first_not_finite, load_base, on_cpu, pick_device
from bench.models.settings import ModelSettings
from bench.models.shared import release
from bench.training.activations import checkpointing
from bench.training.dropout import Draws, row_dropout
from bench.training.loop import StepModule, train
from bench.training.loss import target_loss
from bench.training.optimizer import adamw, schedule
from bench.training.ranks import Watch
from bench.training.settings import TrainSettings
from bench.training.strategies import shard


@dataclass
class FineTuned:
    """Result of a fine-tuning, for the record.

    Attributes:
        seconds: wall time of all optimiser steps, without validations, including those before a
            resume.
        padding: share of the positions that is padding, 0 to 1.
        target_tokens: tokens that the loss counts, over all steps.
        micro_batch_size: rows in a forward pass at the end; None if tokens are counted.
        micro_tokens: padded tokens in a forward pass at the end; None if rows are counted.
        losses: (step, counted from 0, training loss per target token) at up to 100 steps.
        validation: (step, counted from 1, validation loss per target token).
        kept_step: the step whose adapter is kept: the last one, or the best.
        peak_bytes: peak GPU memory since the last resume; None on a CPU and on several devices.
    """

    steps: int
    seconds: float
    padding: float
    target_tokens: int
    micro_batch_size: int | None
    micro_tokens: int | None
    losses: list[tuple[int, float]]
    validation: list[tuple[int, float]]
    kept_step: int
    peak_bytes: int | None


class FineTuning(StepModule):
    """The loss of a step is the mean over the target tokens of the whole step.

    Attributes:
        validation: (step, validation loss).
        best: step, loss and trained weights by name, on the CPU, at the lowest validation loss.
    """

    strict_loading = False  # a checkpoint holds the adapter alone
    saved = ("losses", "seconds", "validation", "best")
    less_memory = (
        "set train.gradient_checkpointing=true, lower protocol.max_length, which leaves longer "
        "rows out, or use model.dtype=bfloat16 or a smaller base"
    )

    def __init__(
        self,
        examples: list[Example],
        validation: list[Example],
        settings: TrainSettings,
        seed: int,
        pad_id: int,
        title: str,
        model: Any,
    ) -> None:
        order = step_order(len(examples), settings.batch_size, settings.epochs, seed)
        at_once = min(settings.micro_batch_size, settings.batch_size)
        if settings.micro_tokens is not None:
            lengths = [len(example.ids) for example in examples]
            at_once = min(settings.micro_tokens, settings.batch_size * max(lengths))
            self.unit, self.least = TOKENS, 2 * min(lengths) - 1  # two rows have more
        super().__init__(model, settings, len(order), at_once, title)
        self.steps = Steps(examples, order, pad_id, settings.devices, self.unit)
        self.seed, self.draws = seed, Draws()
        self.unseen = sorted(validation, key=lambda row: len(row.ids))
        self.unseen_at_once = settings.batch_size
        self.validation: list[tuple[int, float]] = []
        self.best: dict[str, Any] = {"step": 0, "loss": math.inf, "weights": {}}

    def gradients(self, step: int) -> torch.Tensor:
        # So that a resume needs no generator state; dropout needs no generator.
        torch.manual_seed((self.seed * 1_000_003 + step + self.global_rank * 2**40) % 2**63)
        step_loss = torch.zeros((), device=self.device)
        targets = self.steps.targets(step)
        places = itertools.count(self.global_rank, self.settings.devices)
        own = self.steps.micro_batches(step, self.at_once, self.global_rank)
        for micro_batch in self._even(own, self.steps.most_micro_batches(step, self.at_once)):
            rows = itertools.islice(places, len(micro_batch["input_ids"]))
            self.draws.choose(self.seed, step, rows, self.device)
            on_device = self.trainer.strategy.batch_to_device(micro_batch)
            loss = target_loss(self.model, on_device) / targets
            self.backward_of(loss)
            step_loss += loss.detach()
        return step_loss

    def _even(self, own: Iterator[Any], most: int) -> Iterator[Any]:
        """The batches of this rank, filled up to `most` if the base is sharded.

        All ranks take part in each forward pass of a sharded base. Added batches have no target.
        """
        made = 0
        for made, batch in enumerate(own, start=1):  # noqa: B007
            yield batch
        row = self.steps.examples[0]
        blank = replace(row, labels=[IGNORED] * len(row.ids))
        for _ in range(most - made if self.settings.sharded else 0):
            yield collate([blank], self.steps.pad_id)

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        s, total = self.settings, self.total_steps
        factors = {"hyplora_K": s.curvature_lr_factor}
        optimizer = adamw(self.named_parameters(), s.lr, s.weight_decay, factors)
        return [optimizer], [schedule(optimizer, total, s.warmup_steps(total), s.decay)]

    @contextmanager
    def context(self) -> Iterator[None]:
        enabled = self.settings.gradient_checkpointing
        # Under autocast each product casts its own input, and once.
        with (
            checkpointing(self.model, enabled),
            row_dropout(self.model, self.draws),
            disable_input_dtype_casting(self.model, active=self.mixed),
            compiled(self.model, self.settings.compile),
        ):
            yield

    def measures(self, step: int) -> bool:
        return bool(self.unseen) and self.settings.validates(step, self.total_steps)

    def measure(self, step: int) -> None:
        """Compute the validation loss, and keep the best adapter if asked to."""

        def loss(size: int) -> float:
            self.unseen_at_once = size
            own = self.unseen[self.global_rank :: self.settings.devices]
            made = (collate(part, self.steps.pad_id) for part in split(own, size))
            most = math.ceil(math.ceil(len(self.unseen) / self.settings.devices) / size)
            return sum(
                float(target_loss(self.model, self.trainer.strategy.batch_to_device(batch)))
                for batch in self._even(made, most)
            )

        self.eval()
        with torch.no_grad():
            title = f"{self.title}, validation"
            own_loss = self.halving(loss, self.unseen_at_once, title)
        self.train()
        total = torch.tensor(own_loss, dtype=torch.float64, device=self.device)
        total = self.trainer.strategy.reduce(total, reduce_op="sum")
        mean = float(total) / sum(row.targets for row in self.unseen)
        self.validation.append((step, mean))
        if self.settings.keep == "best" and mean < self.best["loss"]:  # NaN never is
            trained = {n: p for n, p in self.named_parameters() if p.requires_grad}
            weights = {name: p.detach().cpu().clone() for name, p in trained.items()}
            self.best = {"step": step, "loss": mean, "weights": weights}
        if self.watch is not None:
            self.watch(step, mean)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["state_dict"] = without_frozen(self, checkpoint["state_dict"])


def without_frozen(module: torch.nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """A module's state dict without frozen weights and the constants of quantised ones."""
    # A state dict has tied weights under each of their names.
    own = {n for n, p in module.named_parameters(remove_duplicate=False) if p.requires_grad}
    own |= {n for n, _ in module.named_buffers(remove_duplicate=False)}
    return {name: value for name, value in state.items() if name in own}


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
        model: a causal language model with an adapter, on the device to train on (any device for
            a sharded training); trained in place and left in eval mode.
        seed: fixes the order of the problems and the randomness of each step.
        checkpoints: folder of the saved state; a state found there is resumed.
        watch: called with (step, validation loss) after each validation; an exception that it
            raises ends the training.
        base: the model's base, which each process loads; needed for several devices.

    Raises:
        ValueError: there is no training row or no trainable parameter.
        FloatingPointError: a trained weight is NaN or infinite at the end.
        Exception: those of :func:`bench.training.loop.train`.
    """
    if not examples:
        raise ValueError("there is no training row that fits the model's context")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("the model has no parameter that requires a gradient")
    gpu = model.device if model.device.type == "cuda" and settings.devices == 1 else None
    if gpu is not None:
        torch.cuda.reset_peak_memory_stats(gpu)
    load = None
    if settings.devices > 1:
        weights = {n: w.cpu() for n, w in without_frozen(model, model.state_dict()).items()}
        config = model.peft_config[model.active_adapter]
        load = partial(_load, base, config, weights, settings.sharded)
    build = partial(FineTuning, examples, validation, settings, seed, pad_id, title)
    state = checkpoints / "last.ckpt" if checkpoints else None
    device = pick_device() if settings.sharded else model.device
    # Rank 0 loads the base on the same GPU. Quantised weights take less, and can't be moved.
    moved = load is not None and model.device.type == "cuda" and not (base and base.quantization)
    if moved:
        release()
        model.cpu()
    module: Any = train(build, model, device, state, load, watch)
    module.load_state_dict(module.best["weights"], strict=False)
    if moved:
        model.to(device)
    trained = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
    if (damaged := first_not_finite(trained)) is not None:
        raise FloatingPointError(
            f"the weight {damaged} is NaN or infinite after the last step: lower {module.lr_key}"
        )
    steps, at_once = module.steps, module.at_once
    return FineTuned(
        steps=len(steps.order),
        seconds=module.seconds,
        padding=steps.padding_share(at_once),
        target_tokens=sum(examples[i].targets for step in steps.order for i in step),
        micro_batch_size=at_once if steps.unit == ROWS else None,
        micro_tokens=at_once if steps.unit == TOKENS else None,
        losses=module.losses,
        validation=module.validation,
        kept_step=module.best["step"] or len(steps.order),
        peak_bytes=None if gpu is None else torch.cuda.max_memory_allocated(gpu),
    )


def _load(
    base: ModelSettings,
    adapter: PeftConfig,
    weights: dict[str, torch.Tensor],
    sharded: bool,
    device: torch.device,
) -> Any:
    """The model of a rank. If it is sharded, its adapter is whole on every device."""
    model, _ = load_base(on_cpu(base), torch.device("cpu")) if sharded else load_base(base, device)
    with quiet_peft():
        model = get_peft_model(model, adapter)
    model.load_state_dict(weights, strict=False)
    if sharded:
        # FSDP shards weights of one dtype; the few that a base keeps in float32 stay whole, too.
        base_model = model.get_base_model()
        others = (p for p in model.parameters() if p.requires_grad or p.dtype != base_model.dtype)
        shard(base_model, device, others)
        model.to(device)  # an adapter outside of the base, such as a prefix
    return model
