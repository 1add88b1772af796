from contextlib import contextmanager

import pytest
import torch

from bench.data.batches import IGNORED, Example
from bench.models.settings import ModelSettings
from bench.training.settings import TrainSettings


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
    return ModelSettings("local", str(local_base), None, "float32", None, False)


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


@pytest.fixture(scope="session")
def trained_weights():
    def weights(model):
        return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    return weights


@pytest.fixture(scope="session")
def furthest():
    """The largest difference between two sets of weights."""

    def difference(one, other):
        assert one.keys() == other.keys()
        return float(torch.stack([(one[name] - other[name]).abs().max() for name in one]).max())

    return difference
