import dataclasses
from pathlib import Path

import pytest
import torch

from bench.data.batches import Example, collate
from bench.errors import InputError
from bench.experiment import run
from bench.identity import identity
from bench.methods import attach
from bench.training.activations import checkpointing
from bench.training.finetune import finetune
from bench.training.loss import target_loss

CONF = Path(__file__).resolve().parents[2] / "conf" / "method"
METHODS = sorted(p.stem for p in CONF.glob("*.yaml") if p.stem not in ("none", "prefix"))


def rows(count=8):
    random = torch.Generator().manual_seed(3)
    drawn = [torch.randint(3, 1400, (12 + i,), generator=random).tolist() for i in range(count)]
    return [Example(ids, ids) for ids in drawn]


def adapted(compose, base, name):
    method = compose(f"method={name}", "++method.r=4").method
    options = dict(method.options)
    options.pop("r") if "bottleneck_size" in options else None
    for dropout in ("lora_dropout", "dropout"):
        if dropout in options:
            options[dropout] = 0.1  # drawn a second time, it must be the same
    torch.manual_seed(0)
    return attach(base, method.module, options, [row.ids for row in rows()])


@pytest.fixture
def short(compose):
    settings = compose("method=lora", "train.epochs=2", "train.batch_size=4").train
    return dataclasses.replace(settings, validations=2, lr=1e-2)


@pytest.mark.parametrize("name", METHODS)
def test_a_training_is_the_same_with_activations_computed_twice(compose, local_base, short, name):
    from bench.models.loading import load_base
    from bench.models.settings import ModelSettings

    where = ModelSettings("local", str(local_base), None, "float32", None, False)
    losses = []
    for twice in (False, True):
        model = adapted(compose, load_base(where, torch.device("cpu"))[0], name)
        settings = dataclasses.replace(short, gradient_checkpointing=twice)
        done = finetune(model, rows(), rows(3), settings, 0, 0)
        losses.append([loss for _, loss in (*done.losses, *done.validation)])
        assert not any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
    assert len(losses[0]) == 6 and losses[0][0] != losses[0][3]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)


def kept(model, twice):
    """Bytes that a training step keeps for its way back."""
    held = {}

    def keep(tensor):
        held[tensor.data_ptr()] = tensor.numel() * tensor.itemsize
        return tensor

    model.train()
    with checkpointing(model, twice), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss = target_loss(model, collate(rows(), 0))
    loss.backward()
    return sum(held.values())


def test_less_is_kept(compose, fresh_tiny):
    model = adapted(compose, fresh_tiny[0], "hyplora")
    assert kept(model, True) < 0.7 * kept(model, False)


def test_in_evaluation_nothing_is_computed_twice(compose, fresh_tiny):
    model = adapted(compose, fresh_tiny[0], "lora").eval()
    ids = torch.tensor([rows()[0].ids])
    with checkpointing(model, True):
        assert model(input_ids=ids).past_key_values is not None


def test_prefix_is_refused_before_a_base_is_loaded(compose):
    experiment = compose(
        "method=prefix", "train.gradient_checkpointing=true", "model=hub", "model.path=a/nowhere"
    )
    with pytest.raises(InputError, match="does not go with prefix_tuning"):
        run(experiment)


def test_in_float32_it_is_no_part_of_the_identity(compose):
    def name(*overrides, precision="32-true"):
        return identity(dataclasses.asdict(compose(*overrides)), {}, precision, "torch.float32")

    twice = "train.gradient_checkpointing=true"
    assert name(twice) == name()
    assert name(twice, precision="bf16-mixed") != name(precision="bf16-mixed")
    assert name("method=none", twice) == name("method=none")
