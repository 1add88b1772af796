import dataclasses
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch

from bench.data.batches import IGNORED, Example
from bench.methods import attach
from bench.models.loading import load_base
from bench.training.finetune import FineTuned, finetune
from bench.training.settings import TrainSettings
from tests.helpers import model_at

LORA = {"r": 4, "target_modules": ["q_proj", "down_proj"]}


@pytest.fixture(scope="session")
def settings():
    """Of a training of eight steps on 32 rows."""
    return TrainSettings(
        lr=1e-2,
        epochs=2.0,
        batch_size=8,
        micro_batch_size=8,
        devices=1,
        curvature_lr_factor=1.0,
        weight_decay=0.0,
        warmup=0.1,
        decay="linear",
        gradient_clip=1.0,
        train_on_inputs=False,
        precision="32-true",
        validations=2,
        checkpoint_minutes=60.0,
    )


@pytest.fixture(scope="session")
def rows():
    """Random rows, by default of 5 to 19 tokens, whose second half is the target."""

    def made(count, seed=1, tokens=None):
        generator = torch.Generator().manual_seed(seed)
        found = []
        for _ in range(count):
            length = tokens or int(torch.randint(5, 20, (), generator=generator))
            ids = torch.randint(3, 200, (length,), generator=generator).tolist()
            found.append(Example(ids, [IGNORED] * (length // 2) + ids[length // 2 :]))
        return found

    return made


@pytest.fixture(scope="session")
def where(local_base):
    return model_at(local_base)


@pytest.fixture
def killed(monkeypatch):
    """A context in which a module's training is interrupted at the start of a step."""

    @contextmanager
    def context(module, step):
        whole = module.training_step

        def limited(self, batch, index):
            if self.global_step == step:
                raise KeyboardInterrupt
            return whole(self, batch, index)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, "training_step", limited)
            yield

    return context


@pytest.fixture
def steps_taken(monkeypatch):
    """A function that returns a list to which a module's training adds its steps."""

    def watch(module):
        whole, taken = module.training_step, []
        monkeypatch.setattr(
            module,
            "training_step",
            lambda self, *args: taken.append(self.global_step) or whole(self, *args),
        )
        return taken

    return watch


class Trained(NamedTuple):
    done: FineTuned
    weights: dict
    model: Any


def untrained(where, method="lora", options=LORA, dropout=0.0):
    """A fresh base with an adapter."""
    torch.manual_seed(0)
    options = options | ({"lora_dropout": dropout} if dropout else {})
    return attach(load_base(where, torch.device("cpu"))[0], method, options)


def finetuned(model, where, examples, unseen, settings, seed=0, checkpoints=None, watch=None):
    done = finetune(model, examples, unseen, settings, seed, 0, checkpoints, "lora", watch, where)
    weights = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    return Trained(done, weights, model)


@pytest.fixture
def lora(where):
    return untrained(where)


@pytest.fixture(scope="session")
def train(where, settings, rows):
    """Fine-tune a given model, or LoRA on a fresh base."""

    def run(
        checkpoints=None,
        *,
        examples=None,
        validation=None,
        model=None,
        dropout=0.0,
        hook=None,
        seed=0,
        **changes,
    ):
        model = model or untrained(where, dropout=dropout)
        if hook:
            model.register_forward_pre_hook(hook, with_kwargs=True)
        if checkpoints:
            changes.setdefault("checkpoint_minutes", 1e-6)
        own = dataclasses.replace(settings, **changes)
        given = rows(32) if examples is None else examples
        unseen = rows(4) if validation is None else validation
        return finetuned(model, where, given, unseen, own, seed, checkpoints)

    return run


@pytest.fixture(scope="session")
def furthest():
    """The largest difference between two sets of weights."""

    def difference(one, other):
        assert one.keys() == other.keys()
        return max(float((one[name] - other[name]).abs().max()) for name in one)

    return difference


@pytest.fixture(scope="session")
def assert_close(furthest):
    """Compare two trainings of the same steps."""

    def check(one, other, tolerance=1e-5):
        assert furthest(one.weights, other.weights) < tolerance
        for kind in ("losses", "validation"):
            first, second = (dict(getattr(each.done, kind)) for each in (one, other))
            assert first == pytest.approx(second, rel=tolerance)

    return check
