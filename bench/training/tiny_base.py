"""Pretraining of the embedded base: `make tiny-base` or `python bench/run.py action=tiny_base`."""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from bench.data.batches import IGNORED
from bench.data.synthetic.corpus import documents
from bench.data.synthetic.draw import Draw
from bench.data.synthetic.lookup import lookup
from bench.data.tiny_base import KINDS, ROW_TOKENS, Part, corpus_rows, schedule_batches
from bench.errors import Failure, InputError, unknown
from bench.files import write_json
from bench.models.tiny_base import llama_config, train_tokenizer
from bench.training.loop import StepModule, train
from bench.training.optimizer import adamw, schedule
from bench.training.probes import probe

TOKENIZER_DOCUMENTS = 20_000
TOKENIZER_LOOKUPS = 4_000
VALIDATION_ROWS = 512


@dataclass(frozen=True)
class TinyBaseSettings:
    """How the embedded base is made; conf/action/tiny_base.yaml describes each setting."""

    output: str
    seed: int
    phases: list[dict[str, float]]
    step_tokens: int
    vocab_size: int
    lr: float
    warmup: int
    flat: float
    weight_decay: float
    precision: str
    gates: dict[str, float]
    checkpoint_minutes: float
    devices: ClassVar[int] = 1
    sharded: ClassVar[bool] = False
    gradient_clip: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        for phase in self.phases:
            for kind, share in phase.items():
                if kind != "steps" and kind not in KINDS:
                    raise unknown("kind of row in action.phases", kind, KINDS)
                if share < 0:
                    raise InputError(f"action.phases: {kind} must not be negative, got {share}")
        if self.steps < 1:
            raise InputError("action.phases must have at least one step")
        if self.step_tokens < max(ROW_TOKENS.values()):
            raise InputError(f"action.step_tokens must be at least {max(ROW_TOKENS.values())}")

    @property
    def steps(self) -> int:
        """Optimiser steps of all phases."""
        return sum(int(phase["steps"]) for phase in self.phases)

    @property
    def recipe(self) -> dict[str, Any]:
        """The settings that affect the weights."""
        others = ("output", "checkpoint_minutes")
        return {key: value for key, value in asdict(self).items() if key not in others}


class TinyBasePretraining(StepModule):
    """Next-token prediction: the mean loss over the target tokens of a batch."""

    lr_key = "action.lr"
    saved = ("losses", "seconds", "cpu_seconds")

    def __init__(
        self, settings: TinyBaseSettings, tokenizer: PreTrainedTokenizerBase, model: Any
    ) -> None:
        super().__init__(model, settings, settings.steps, 1, "pretraining")
        self.tokenizer = tokenizer
        self.batches: Iterator[list[Part]] | None = None
        self.cpu_seconds, self.cpu_started = 0.0, time.process_time()

    def gradients(self, step: int) -> torch.Tensor:
        if self.batches is None:
            s = self.settings
            all_ = schedule_batches(s.phases, s.step_tokens, self.tokenizer, s.seed)
            self.batches = itertools.islice(all_, step, None)
        loss = self.loss(next(self.batches))
        self.manual_backward(loss)
        return loss.detach()

    def loss(self, batch: list[Part]) -> torch.Tensor:
        """The loss of a batch, ()."""
        counted = [int((labels[:, 1:] != IGNORED).sum()) for _, labels in batch]
        loss = torch.zeros(())
        for (ids, labels), count in zip(batch, counted, strict=True):
            mean = self.model(input_ids=ids, labels=labels, use_cache=False).loss
            loss = loss + mean * (count / sum(counted))
        return loss

    def tick(self) -> None:
        super().tick()
        now = time.process_time()
        self.cpu_seconds, self.cpu_started = self.cpu_seconds + now - self.cpu_started, now

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        s = self.settings
        optimizer = adamw(self.named_parameters(), s.lr, s.weight_decay)
        return [optimizer], [schedule(optimizer, s.steps, s.warmup, "cosine", s.flat)]


def make_tiny_base(settings: TinyBaseSettings, states: Path) -> tuple[Path, dict[str, Any]]:
    """Make the embedded base; a killed pretraining resumes from its state in the folder `states`.

    Returns:
        The folder, with config, tokenizer, bf16 safetensors weights and pretraining.json, and the
        content of the latter.

    Raises:
        Failure: the base does not pass its gates; it is then saved in `output`-below-gates.
    """
    L.seed_everything(settings.seed, verbose=False)
    print("tokenizer ...", flush=True)
    tokenizer = train_tokenizer(tokenizer_texts(settings.seed), settings.vocab_size)
    recipe = json.dumps(settings.recipe, sort_keys=True).encode()
    state = states / f"{hashlib.sha256(recipe).hexdigest()[:12]}.ckpt"
    states.mkdir(parents=True, exist_ok=True)
    build = partial(TinyBasePretraining, settings, tokenizer)
    untrained = LlamaForCausalLM(llama_config(tokenizer))
    module: Any = train(build, untrained, torch.device("cpu"), state)
    model = module.model.to(torch.bfloat16).float().eval()  # as it is saved
    probes = probe(model, tokenizer)
    record = {
        "settings": settings.recipe,
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": len(tokenizer),
        "steps": settings.steps,
        "tokens": settings.steps * settings.step_tokens,
        "validation_loss": round(validation_loss(model, tokenizer, settings.seed + 1), 4),
        "probes": {name: round(share, 3) for name, share in probes.items()},
        "seconds": round(module.seconds),
        "cpu_seconds": round(module.cpu_seconds),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "torch": torch.__version__,
    }
    below = ", ".join(below_gates(probes, settings.gates))
    output = Path(settings.output + ("-below-gates" if below else ""))
    model.to(torch.bfloat16).save_pretrained(output)
    tokenizer.save_pretrained(output)
    write_json(output / "pretraining.json", record)
    state.unlink(missing_ok=True)
    if below:
        raise Failure(f"the base does not pass its gates: {below}; it was saved to {output}")
    return output, record


def tokenizer_texts(seed: int) -> list[str]:
    """The texts that the tokenizer is trained on: corpus documents, and lists with questions."""
    draw = Draw("lookup", seed)
    lists = [lookup(draw).text for _ in range(TOKENIZER_LOOKUPS)]
    return [*itertools.islice(documents(seed), TOKENIZER_DOCUMENTS), *lists]


def below_gates(probes: dict[str, float], gates: dict[str, float]) -> list[str]:
    """The probes below their gates, as text."""
    least = {name: gates["lookup" if name == "lookup" else "arithmetic"] for name in probes}
    return [f"{n} {share:.2f} < {least[n]:g}" for n, share in probes.items() if share < least[n]]


@torch.no_grad()
def validation_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, seed: int
) -> float:
    """Mean loss per token on corpus rows of another seed than the training's."""
    rows = corpus_rows(tokenizer, ROW_TOKENS["corpus"], seed)
    ids = torch.tensor([row for row, _ in itertools.islice(rows, VALIDATION_ROWS)])
    losses = [float(model(input_ids=part, labels=part).loss) for part in ids.split(64)]
    return sum(losses) / len(losses)
