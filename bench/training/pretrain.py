"""Pretraining of a base with Lightning on CPU or GPU; a killed run resumes exactly."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.data.packing import Packer, Place
from bench.data.tokens import Tokens
from bench.models.helm.layers import LorentzEmbedding
from bench.models.untrained import build
from bench.training.flops import VECTORS
from bench.training.loop import StepModule, train
from bench.training.optimizer import adamw, schedule
from bench.training.packed import document_bits, forward
from bench.training.riemannian_adam import RiemannianAdam
from bench.training.routing import Routing
from bench.training.settings import PretrainSettings
from bench.training.strategies import ManualDDP, Sharded, gathered, shard

PART = 0.2  # share of the validation documents that is measured during training


class Pretraining(StepModule):
    """The loss of a step is the mean over the target tokens of the whole step.

    Attributes:
        order: a running digest of all rows so far.
        targets: predicted tokens so far.
        validation: (step, bits per byte) of a part of the validation documents.
        curvatures: (step, curvatures by name).
    """

    recorded_losses = 200
    lr_key = "action.lr"
    less_memory = "give a lower action.row_tokens, or a smaller model"
    saved = ("losses", "seconds", "order", "targets", "validation", "curvatures", "place")

    def __init__(
        self, tokens: Tokens, settings: PretrainSettings, seed: int, title: str, model: Any
    ) -> None:
        at_once = min(settings.micro_rows, settings.rows // settings.devices)
        super().__init__(model, settings, settings.steps, at_once, title)
        if self.mixed and model.config.model_type == "deepseek_v3":
            # The grouped product of transformers ignores autocast, unlike HELM's.
            model.set_experts_implementation("eager")
        self.tokens = tokens
        self.packer = Packer(tokens, tokens.parts["train"], settings.row_tokens, seed)
        self.strategy = Sharded if settings.sharded else ManualDDP
        self.routing = Routing(model)
        self.order, self.targets = "", 0
        self.validation: list[tuple[int, float]] = []
        self.curvatures: list[tuple[int, dict[str, float]]] = []

    @property
    def place(self) -> dict[str, Any]:
        """The position in the documents, as plain data."""
        return asdict(self.packer.place)

    @place.setter
    def place(self, state: dict[str, Any]) -> None:
        self.packer.place = Place(**state)

    def training_step(self, step: int, index: int) -> torch.Tensor:
        self.rows = self.packer.rows(self.settings.rows)
        read = bytes.fromhex(self.order) + self.rows.input_ids.numpy().tobytes()
        self.order = hashlib.sha256(read).hexdigest()
        self.targets += self.rows.targets
        with self.routing.counting():
            loss = super().training_step(step, index)
        self.routing.balance()
        return loss

    def gradients(self, step: int) -> torch.Tensor:
        count, ranks = len(self.rows), self.settings.devices
        own = self.rows[self.global_rank * count // ranks :][: count // ranks]
        self.routing.reset()
        loss = torch.zeros((), device=self.device)
        for start in range(0, len(own), self.at_once):
            part = own[start : start + self.at_once]
            share = part.targets / self.rows.targets
            part = part.to(self.device)
            mean = forward(self.model, part, labels=part.labels).loss
            # FSDP averages over the ranks; the sum is needed.
            self.backward_of(mean * share * (ranks if self.settings.sharded else 1))
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
        shape = (s.steps, s.warmup_steps, "cosine")
        return optimizers, [schedule(o, *shape, floor=s.lr_floor) for o in optimizers]

    def measures(self, step: int) -> bool:
        return self.settings.evaluates(step)

    def measure(self, step: int) -> None:
        """Measure bits per byte and curvatures."""
        documents = self.tokens.parts["validation"]
        documents = documents[: math.ceil(PART * len(documents))]
        # The ranks of a sharded model run all forward passes together.
        sharded = self.settings.sharded
        own = documents if sharded else documents[self.global_rank :: self.settings.devices]
        title = f"{self.title}, validation"
        rows = self.settings.row_tokens, self.settings.micro_rows
        bits = document_bits(self.model, self.tokens, own, *rows, title).sum()
        if not sharded:
            total = torch.tensor(bits, dtype=torch.float64, device=self.device)
            bits = self.trainer.strategy.reduce(total, reduce_op="sum")
        self.validation.append((step, float(bits) / int(self.tokens.sizes[documents].sum())))
        with gathered(self.model):
            self.curvatures.append((step, curvatures(self.model)))


def curvatures(model: Any) -> dict[str, float]:
    """The curvature parameters of a model by name; empty for a Euclidean one."""
    found = model.curvatures() if hasattr(model, "curvatures") else {}
    return {name: float(value) for name, value in found.items()}


def pretrain(
    model: Any,
    tokens: Tokens,
    settings: PretrainSettings,
    seed: int,
    state: Path | None = None,
    title: str = "pretraining",
) -> Pretraining:
    """Train a causal language model on packed text, resuming from a saved state.

    Args:
        model: with random weights, on the device to train on; trained in place and left in eval
            mode. For several devices as made by :func:`bench.models.untrained.build` with this
            seed, which each of them repeats.
        settings: the precision may be `auto`.
        seed: fixes the order of the documents.
        state: where the state is saved; None to save none.

    Returns:
        The Lightning module, with its losses.

    Raises:
        Exception: those of :func:`bench.training.loop.train`.
    """
    device = next(model.parameters()).device
    if settings.devices > 1:
        model.cpu()  # frees the device's memory for the ranks
    load = partial(_load, model.config, settings.sharded, seed)
    module: Any = train(
        partial(Pretraining, tokens, settings, seed, title), model, device, state, load
    )
    model.to(device)
    return module


def _load(architecture: Any, sharded: bool, seed: int, device: torch.device) -> Any:
    """A rank's model."""
    model = build(architecture, seed)
    if sharded:
        shard(model, device)
    return model if sharded else model.to(device)
