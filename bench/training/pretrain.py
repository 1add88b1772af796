"""Pretraining a base with Lightning, on CPU or GPU; a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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
from bench.models.helm.embedding import LorentzEmbedding
from bench.models.untrained import build
from bench.training.callbacks import ShowProgress
from bench.training.console import quiet_lightning
from bench.training.held_out import HeldOut, document_bits
from bench.training.loop import resolve_precision
from bench.training.optimizer import adamw, learning_rate_factor
from bench.training.packed import forward
from bench.training.pretrain_settings import PretrainSettings
from bench.training.ranks import AddsUpOnce, Watch, add_up, train_in_ranks
from bench.training.resume import SaveState, StepLoader, finished_steps, fit
from bench.training.riemannian_adam import RiemannianAdam
from bench.training.routing import Routing
from bench.training.sharded import Sharded, gathered, shard

LOSSES = 200  # how many training losses are recorded at most
PART = 0.2  # of the held-out documents, that are measured on while training
# Of the experts, that stand together in what looks like a matrix.
VECTORS = ("_time", "_bias")
LESS_MEMORY = "give a lower action.row_tokens, or a smaller model"


@dataclass(frozen=True)
class Text:
    """What to train on: documents as tokens, and the token of an empty place."""

    tokens: Tokens
    pad_id: int


class Pretraining(L.LightningModule):
    """One optimiser step a batch: its loss is the mean over the target tokens of the whole step."""

    def __init__(
        self, model: Any, text: Text, settings: PretrainSettings, seed: int, title: str
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.settings, self.title = model, settings, title
        self.total_steps = settings.steps
        documents = np.flatnonzero(~text.tokens.held_out)
        self.packer = Packer(text.tokens, documents, settings.row_tokens, text.pad_id, seed)
        self.routing = Routing(model)
        self.micro_rows = min(settings.micro_rows, settings.rows // settings.devices)
        self.order = b""  # of a digest over all rows so far: what was read, and in which order
        self.targets = 0
        self.losses: list[tuple[int, float]] = []
        self.held_out: list[tuple[int, float]] = []
        self.curvatures: list[tuple[int, dict[str, float]]] = []
        self.last_loss = torch.zeros(())
        self.seconds = 0.0  # of the steps alone

    def training_step(self, step: int, index: int) -> torch.Tensor:
        rows = self.packer.rows(self.settings.rows)
        self.order = hashlib.sha256(self.order + rows.input_ids.numpy().tobytes()).digest()
        self.targets += rows.targets

        own = rows[self.global_rank * len(rows) // self.ranks :][: len(rows) // self.ranks]

        def gradients(at_once: int) -> torch.Tensor:
            self.zero_grad()  # those of a part of the step, where memory was short
            self.micro_rows = at_once
            return self._gradients(own, rows.targets)

        with self.routing.counting():
            if self.settings.sharded:  # one rank alone can't do a step in more passes
                loss = gradients(self.micro_rows)
            else:
                loss = halving(gradients, self.micro_rows, self.title, LESS_MEMORY)
        if self.ranks > 1:
            # Those of a sharded model are added up by each backward pass.
            summed = () if self.settings.sharded else self.parameters()
            add_up(self.trainer.strategy, summed, loss)
        if self.settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.gradient_clip)
        first, *others = _listed(self.optimizers())
        first.step()
        for optimizer in others:
            optimizer.optimizer.step()  # past Lightning, which would count another step
        self.zero_grad()
        for schedule in _listed(self.lr_schedulers()):
            schedule.step()
        self.routing.balance()
        self.last_loss = loss
        if step % math.ceil(self.total_steps / LOSSES) == 0:
            self.losses.append((step, float(loss)))
            if not math.isfinite(self.losses[-1][1]):
                raise FloatingPointError(
                    f"the loss is {self.losses[-1][1]} at step {step}: lower action.lr"
                )
        return loss

    @property
    def ranks(self) -> int:
        """How many processes share the step."""
        return self.settings.devices

    def _gradients(self, rows: Rows, targets: int) -> torch.Tensor:
        """Add the gradients of a step's rows up; their part of its loss."""
        self.routing.reset()
        loss = torch.zeros((), device=self.device)
        for start in range(0, len(rows), self.micro_rows):
            part = rows[start : start + self.micro_rows]
            share = part.targets / targets
            part = part.to(self.device)
            mean = forward(self.model, part, labels=part.labels).loss
            # FSDP takes the ranks' mean, where the sum is wanted.
            times = self.ranks if self.settings.sharded else 1
            self.manual_backward(mean * share * times)
            loss += mean.detach() * share
        return loss

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        s = self.settings
        points = _points(self.model)
        others = [(name, p) for name, p in self.named_parameters() if p is not points]
        optimizers: list[Any] = [adamw(others, s.lr, s.weight_decay, vectors=VECTORS)]
        if points is not None:
            optimizers.append(RiemannianAdam([points], s.lr, K=self.model.config.curvature))

        def factor(step: int) -> float:
            return learning_rate_factor(step, s.steps, s.warmup_steps, "cosine", floor=s.lr_floor)

        return optimizers, [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in optimizers]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["progress"] = {
            "place": self.packer.state(),
            "order": self.order.hex(),
            "targets": self.targets,
            "losses": self.losses,
            "held_out": self.held_out,
            "curvatures": self.curvatures,
            "seconds": self.seconds,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        progress = checkpoint["progress"]
        self.packer.place = Place(**progress["place"])
        self.order = bytes.fromhex(progress["order"])
        self.targets, self.seconds = progress["targets"], progress["seconds"]
        for name in ("losses", "held_out", "curvatures"):
            setattr(self, name, [tuple(entry) for entry in progress[name]])

    def load_finished(self, state: Path) -> None:
        """Take over the weights and the progress of a saved state, without training on."""
        checkpoint = torch.load(state, weights_only=True, map_location=self.device)
        self.load_state_dict(checkpoint["state_dict"])
        self.on_load_checkpoint(checkpoint)


def _points(model: Any) -> torch.Tensor | None:
    """The table of points that a Lorentz embedding is; None where there is none."""
    table = model.get_input_embeddings()
    return table.weight if isinstance(table, LorentzEmbedding) else None


def _listed(found: Any) -> list[Any]:
    """Lightning gives one by itself, and several as a list."""
    return list(found) if isinstance(found, list) else [found]


class Clock(Callback):
    """Adds up the time of the steps; what is measured between them does not count."""

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        if module.device.type == "cuda" and module.settings.evaluates(module.global_step):
            torch.cuda.synchronize()  # else the measurement would pay for steps still at work
        module.seconds += time.perf_counter() - self.began


class Measure(Callback):
    """Takes bits per byte and the curvatures when the settings say so."""

    def __init__(self, held_out: HeldOut) -> None:
        self.held_out = held_out
        self.documents = held_out.some(PART)
        self.bytes = int(held_out.tokens.sizes[self.documents].sum())

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        step, ranks = module.global_step, module.ranks
        if module.settings.evaluates(step):
            with trainer.precision_plugin.forward_context():
                title = f"{module.title}, held-out text"
                # All ranks go through a sharded model together.
                sharded = module.settings.sharded
                own = self.documents if sharded else self.documents[module.global_rank :: ranks]
                bits = document_bits(module.model, self.held_out, own, title).sum()
            if not sharded:
                whole = torch.tensor(bits, dtype=torch.float64, device=module.device)
                bits = float(trainer.strategy.reduce(whole, reduce_op="sum"))
            module.held_out.append((step, float(bits) / self.bytes))
            with gathered(module.model):
                module.curvatures.append((step, curvatures(module.model)))


def curvatures(model: Any) -> dict[str, float]:
    """The curvature parameters of a model by name; empty for one that has none."""
    found: Callable[[], dict[str, float]] | None = getattr(model, "curvatures", None)
    return {} if found is None else {name: float(value) for name, value in found().items()}


@dataclass(frozen=True)
class _Shared:
    """A pretraining as ranks share it: see `bench.training.ranks.Shared`.

    Attributes:
        architecture: configuration of transformers, of which and the seed every rank makes the
            model.
        text: the documents, in files that all of them read.
        settings: of the training.
        seed: of the model and of the documents' order.
        title: what the progress is told under.
    """

    architecture: Any
    text: Text
    settings: PretrainSettings
    seed: int
    title: str

    @property
    def devices(self) -> int:
        return self.settings.devices

    @property
    def steps(self) -> int:
        return self.settings.steps

    @property
    def strategy(self) -> type[AddsUpOnce]:
        return Sharded if self.settings.sharded else AddsUpOnce

    def train(
        self, device: torch.device, state: Path, watch: Watch | None, strategy: Strategy
    ) -> None:
        model = build(self.architecture, self.seed)
        if self.settings.sharded:
            shard(model, device)
        else:
            model.to(device)
        _train(model, self, state, strategy)


def pretrain(
    model: Any,
    text: Text,
    settings: PretrainSettings,
    seed: int,
    state: Path | None = None,
    title: str = "pretraining",
) -> Pretraining:
    """Train a causal language model on packed text, from a saved state on where there is one.

    Args:
        model: with random weights, on the device to train on; trained in place. For several
            devices what :func:`bench.models.untrained.build` makes with this seed, which every one
            of them does again.
        text: the documents; the held-out ones are measured on alone.
        settings: see PretrainSettings; the precision may be `auto`.
        seed: fixes the order of the documents.
        state: where the state for a resume is saved; None to save none.
        title: what the progress is told under.

    Returns:
        What Lightning trained, with its losses; the model is left in eval mode.

    Raises:
        FloatingPointError: the loss is no longer a number.
        Failure: a forward and backward pass of one row alone does not fit in memory; a process of
            several was killed.
        Terminated: the process was told to end; the last saved state stays.
    """
    shared = _Shared(model.config, text, settings, seed, title)
    with tempfile.TemporaryDirectory() as folder:
        if settings.devices > 1:
            state = state or Path(folder) / "last.ckpt"
            device = next(model.parameters()).device
            model.cpu()  # the ranks have better use for the room
            train_in_ranks(shared, device.type, state)
            model.to(device)
        return _train(model, shared, state)


def _train(
    model: Any, shared: _Shared, state: Path | None, strategy: str | Strategy = "auto"
) -> Pretraining:
    """Train in one process: alone, or as one rank of several."""
    text, settings, title = shared.text, shared.settings, shared.title
    module = Pretraining(model, text, settings, shared.seed, title)
    first = finished_steps(state)
    if first == settings.steps and state is not None:
        # Killed before the model was saved, or trained by ranks.
        module.load_finished(state)
        model.eval()
        return module
    device = next(model.parameters()).device
    held_out = HeldOut(text.tokens, settings.row_tokens, text.pad_id, settings.micro_rows)
    quiet_lightning()
    trainer = L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=settings.devices,
        strategy=strategy,
        precision=resolve_precision(settings.precision, device),
        max_steps=settings.steps,
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[
            Clock(),
            ShowProgress(title),
            # The order matters: a saved state has the measurement that was due at its step.
            Measure(held_out),
            *([SaveState(state, settings.checkpoint_minutes, at_end=True)] if state else []),
        ],
    )
    model.train()
    later = StepLoader(range(first, settings.steps), settings.steps)
    fit(trainer, module, later, state if first else None)
    model.eval()
    return module
