"""Pretraining of a base with Lightning on CPU or GPU; a killed run resumes exactly."""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import Strategy

from bench.data.packing import Packer, Place, Rows
from bench.data.tokens import Tokens
from bench.memory import halving
from bench.models.helm.layers import LorentzEmbedding
from bench.models.untrained import build
from bench.training.callbacks import ShowProgress
from bench.training.held_out import HeldOut, document_bits
from bench.training.loop import StepModule, train_module
from bench.training.optimizer import adamw, learning_rate_factor
from bench.training.packed import forward
from bench.training.pretrain_settings import PretrainSettings
from bench.training.ranks import ManualDDP, Watch, reduce_gradients, train_in_ranks
from bench.training.resume import SaveState
from bench.training.riemannian_adam import RiemannianAdam
from bench.training.routing import Routing
from bench.training.sharded import Sharded, gathered, shard

PART = 0.2  # share of the held-out documents that is measured during training
VECTORS = ("_time", "_bias")  # of experts, stacked to what looks like a matrix
LESS_MEMORY = "give a lower action.row_tokens, or a smaller model"


@dataclass(frozen=True)
class Text:
    """What to train on: documents as tokens, and the token of an empty place."""

    tokens: Tokens
    pad_id: int


_Job = tuple[Text, PretrainSettings, int, str]  # arguments of Pretraining after the model


class Pretraining(StepModule):
    """The loss of a step is the mean over the target tokens of the whole step."""

    recorded_losses = 200
    lr_key = "action.lr"

    def __init__(
        self, model: Any, text: Text, settings: PretrainSettings, seed: int, title: str
    ) -> None:
        super().__init__(settings.steps)
        self.automatic_optimization = False
        self.model, self.settings, self.title = model, settings, title
        documents = np.flatnonzero(~text.tokens.held_out)
        self.packer = Packer(text.tokens, documents, settings.row_tokens, text.pad_id, seed)
        self.routing = Routing(model)
        self.ranks = settings.devices
        self.micro_rows = min(settings.micro_rows, settings.rows // settings.devices)
        self.order = b""  # a running digest of all rows so far
        self.targets = 0
        self.held_out: list[tuple[int, float]] = []
        self.curvatures: list[tuple[int, dict[str, float]]] = []
        self.seconds = 0.0  # of the steps alone

    def training_step(self, step: int, index: int) -> torch.Tensor:
        rows = self.packer.rows(self.settings.rows)
        self.order = hashlib.sha256(self.order + rows.input_ids.numpy().tobytes()).digest()
        self.targets += rows.targets
        own = rows[self.global_rank * len(rows) // self.ranks :][: len(rows) // self.ranks]

        def gradients(at_once: int) -> torch.Tensor:
            self.zero_grad()  # of an attempt that ran out of memory
            self.micro_rows = at_once
            return self._gradients(own, rows.targets)

        with self.routing.counting():
            if self.settings.sharded:  # the ranks must agree on the number of passes
                loss = gradients(self.micro_rows)
            else:
                loss = halving(gradients, self.micro_rows, self.title, LESS_MEMORY)
        if self.ranks > 1:
            # FSDP reduces the gradients in each backward pass.
            reduced = () if self.settings.sharded else self.parameters()
            reduce_gradients(self.trainer.strategy, reduced, loss)
        if self.settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.gradient_clip)
        first, *others = _listed(self.optimizers())
        first.step()
        for optimizer in others:
            optimizer.optimizer.step()  # not Lightning's wrapper, which would count another step
        self.zero_grad()
        for schedule in _listed(self.lr_schedulers()):
            schedule.step()
        self.routing.balance()
        self.record_loss(step, loss)
        return loss

    def _gradients(self, rows: Rows, targets: int) -> torch.Tensor:
        """Accumulate the gradients of this rank's rows; their part of the step's loss."""
        self.routing.reset()
        loss = torch.zeros((), device=self.device)
        for start in range(0, len(rows), self.micro_rows):
            part = rows[start : start + self.micro_rows]
            share = part.targets / targets
            part = part.to(self.device)
            mean = forward(self.model, part, labels=part.labels).loss
            # FSDP averages over the ranks; the sum is needed.
            scale = self.ranks if self.settings.sharded else 1
            self.manual_backward(mean * share * scale)
            loss += mean.detach() * share
        return loss

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        s = self.settings
        table = self.model.get_input_embeddings()
        points = table.weight if isinstance(table, LorentzEmbedding) else None
        others = [(name, p) for name, p in self.named_parameters() if p is not points]
        optimizers: list[Any] = [adamw(others, s.lr, s.weight_decay, vectors=VECTORS)]
        if points is not None:
            optimizers.append(RiemannianAdam([points], s.lr, K=self.model.config.curvature))

        def factor(step: int) -> float:
            return learning_rate_factor(step, s.steps, s.warmup_steps, "cosine", floor=s.lr_floor)

        return optimizers, [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in optimizers]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        own = ("targets", "losses", "held_out", "curvatures", "seconds")
        checkpoint["progress"] = {name: getattr(self, name) for name in own} | {
            "place": self.packer.state(),
            "order": self.order.hex(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        progress = checkpoint["progress"]
        self.packer.place = Place(**progress["place"])
        self.order = bytes.fromhex(progress["order"])
        self.targets, self.seconds = progress["targets"], progress["seconds"]
        for name in ("losses", "held_out", "curvatures"):
            setattr(self, name, [tuple(entry) for entry in progress[name]])


def _listed(found: Any) -> list[Any]:
    """Lightning returns a single one by itself, and several as a list."""
    return list(found) if isinstance(found, list) else [found]


class _StepTimer(Callback):
    """Sums the time of the steps without the measurements between them."""

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        if module.device.type == "cuda" and module.settings.evaluates(module.global_step):
            torch.cuda.synchronize()  # else the measurement would wait for pending steps
        module.seconds += time.perf_counter() - self.start


class _Measure(Callback):
    """Measures bits per byte and curvatures when the settings ask for it."""

    def __init__(self, held_out: HeldOut) -> None:
        self.held_out = held_out
        self.documents = held_out.documents[: math.ceil(PART * len(held_out.documents))]
        self.bytes = int(held_out.tokens.sizes[self.documents].sum())

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        step, sharded = module.global_step, module.settings.sharded
        if not module.settings.evaluates(step):
            return
        # The ranks of a sharded model run all forward passes together.
        own = self.documents if sharded else self.documents[module.global_rank :: module.ranks]
        with trainer.precision_plugin.forward_context():
            title = f"{module.title}, held-out text"
            bits = document_bits(module.model, self.held_out, own, title).sum()
        if not sharded:
            total = torch.tensor(bits, dtype=torch.float64, device=module.device)
            bits = float(trainer.strategy.reduce(total, reduce_op="sum"))
        module.held_out.append((step, float(bits) / self.bytes))
        with gathered(module.model):
            module.curvatures.append((step, curvatures(module.model)))


def curvatures(model: Any) -> dict[str, float]:
    """The curvature parameters of a model by name; empty for a Euclidean one."""
    found: Callable[[], dict[str, float]] | None = getattr(model, "curvatures", None)
    return {} if found is None else {name: float(value) for name, value in found().items()}


def pretrain(
    model: Any,
    text: Text,
    settings: PretrainSettings,
    seed: int,
    state: Path | None = None,
    title: str = "pretraining",
) -> Pretraining:
    """Train a causal language model on packed text, resuming from a saved state.

    Args:
        model: with random weights, on the device to train on; trained in place. For several
            devices as made by :func:`bench.models.untrained.build` with this seed, which each of
            them repeats.
        settings: see PretrainSettings; the precision may be `auto`.
        seed: fixes the order of the documents.
        state: where the state is saved; None to save none.

    Returns:
        The Lightning module, with its losses; the model is left in eval mode.

    Raises:
        FloatingPointError: the loss is NaN or infinite.
        Failure: a forward and backward pass of a single row does not fit in memory, or a rank
            died.
        Terminated: the process received SIGTERM; the last saved state is kept.
    """
    job = (text, settings, seed, title)
    with tempfile.TemporaryDirectory() as folder:
        if settings.devices > 1:
            state = state or Path(folder) / "last.ckpt"
            device = next(model.parameters()).device
            model.cpu()  # frees the device's memory for the ranks
            rank = partial(_train_rank, model.config, job)
            strategy = Sharded if settings.sharded else ManualDDP
            train_in_ranks(
                rank, settings.devices, settings.steps, device.type, state, strategy=strategy
            )
            model.to(device)
        return _train(model, job, state)


def _train_rank(
    architecture: Any,
    job: _Job,
    device: torch.device,
    state: Path,
    watch: Watch | None,
    strategy: Strategy,
) -> None:
    _, settings, seed, _ = job
    model = build(architecture, seed)
    if settings.sharded:
        shard(model, device)
    else:
        model.to(device)
    _train(model, job, state, strategy)


def _train(
    model: Any, job: _Job, state: Path | None, strategy: str | Strategy = "auto"
) -> Pretraining:
    """Train in one process: alone, or as one rank of several."""
    (text, settings, _, title), module = job, Pretraining(model, *job)
    held_out = HeldOut(text.tokens, settings.row_tokens, text.pad_id, settings.micro_rows)
    model.train()
    train_module(
        module,
        [_StepTimer(), ShowProgress(title), _Measure(held_out)],
        SaveState(state, settings.checkpoint_minutes, at_end=True) if state else None,
        next(model.parameters()).device,
        settings.precision,
        devices=settings.devices,
        strategy=strategy,
    )
    model.eval()
    return module
