"""The adapter that a training leaves where the best one is kept, and not the last."""

import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from bench.data.batches import IGNORED, Example, collate
from bench.models.settings import ModelSettings
from bench.training.finetune import finetune
from bench.training.loss import target_loss
from bench.training.module import FineTuning
from bench.training.settings import TrainSettings

SETTINGS = TrainSettings(
    lr=0.1,  # so high that the loss on rows not seen rises again
    epochs=4.0,
    batch_size=8,
    micro_batch_size=8,
    devices=1,
    curvature_lr_factor=1.0,
    weight_decay=0.0,
    warmup=1,
    decay="constant",
    gradient_clip=1.0,
    train_on_inputs=False,
    precision="32-true",
    validations=0,
    checkpoint_minutes=60.0,
    validate_every=3,
    keep="best",
)
OFTEN = dataclasses.replace(SETTINGS, checkpoint_minutes=1e-6)
STEPS = 8


def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.randint(3, 200, (12,), generator=generator).tolist() for _ in range(count)]
    return [Example(row, [IGNORED] * 6 + row[6:]) for row in ids]


TRAIN, VALIDATION = rows(16, seed=1), rows(4, seed=2)


@pytest.fixture
def train(local_base):
    def run(settings=SETTINGS, checkpoints=None, validation=VALIDATION, dropout=0.1):
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(local_base, dtype=torch.float32)
        config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], lora_dropout=dropout)
        model = get_peft_model(base, config)
        where = ModelSettings("local", str(local_base), None, "float32", None, False)
        done = finetune(model, TRAIN, validation, settings, 0, 0, checkpoints, base=where)
        return done, model

    return run


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def loss_of(model):
    batch = collate(VALIDATION, pad_id=0)
    with torch.no_grad():
        return float(target_loss(model, batch)) / sum(row.targets for row in VALIDATION)


def test_the_adapter_is_that_of_the_lowest_validation_loss(train):
    done, model = train()
    losses = dict(done.validation)
    assert list(losses) == [3, 6] and losses[3] < losses[6]
    assert done.kept_step == 3 and loss_of(model) == pytest.approx(losses[3], rel=1e-5)


def test_the_last_adapter_is_kept_where_nothing_else_is_said(train):
    done, model = train(dataclasses.replace(SETTINGS, keep="last", validate_every=STEPS))
    assert done.kept_step == STEPS
    assert loss_of(model) == pytest.approx(done.validation[-1][1], rel=1e-5)


def test_an_adapter_that_is_best_at_the_end_is_the_last(train):
    fits = dataclasses.replace(SETTINGS, lr=1e-2, validate_every=4)
    done, model = train(fits, validation=TRAIN)
    _, last = train(dataclasses.replace(fits, keep="last"), validation=TRAIN)
    assert done.kept_step == STEPS and same(weights(model), weights(last))


def test_validation_comes_at_the_end_of_a_training_that_is_shorter_than_its_interval(train):
    done, _ = train(dataclasses.replace(SETTINGS, validate_every=200))
    assert [step for step, _ in done.validation] == [STEPS] and done.kept_step == STEPS


@pytest.mark.parametrize("step", [2, 3, 5, 7])
def test_a_killed_training_ends_with_the_same_adapter(train, tmp_path, monkeypatch, step):
    undisturbed, expected = train()
    whole = FineTuning.training_step

    def killed(self, number, index):
        if number == step:
            raise KeyboardInterrupt
        return whole(self, number, index)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuning, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(OFTEN, tmp_path)
    done, model = train(OFTEN, tmp_path)
    assert same(weights(model), weights(expected))
    assert (done.kept_step, done.validation) == (undisturbed.kept_step, undisturbed.validation)


def test_a_training_killed_after_its_last_step_ends_with_the_same_adapter(train, tmp_path):
    _, expected = train(OFTEN, tmp_path)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["global_step"] == STEPS
    again, model = train(OFTEN, tmp_path)
    assert again.kept_step == 3 and same(weights(model), weights(expected))


def test_a_state_holds_the_best_adapter_whole(train, tmp_path):
    _, model = train(OFTEN, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    best = torch.load(tmp_path / "last.ckpt", weights_only=True)["progress"]["best"]
    assert best["step"] == 3 and same(
        best["weights"], {f"model.{n}": w for n, w in weights(model).items()}
    )


@pytest.mark.slow  # two processes
def test_ranks_hand_the_best_adapter_back(train):
    few = dataclasses.replace(SETTINGS, micro_batch_size=4, lr=0.03)
    alone, expected = train(few, dropout=0.0)
    done, model = train(dataclasses.replace(few, devices=2), dropout=0.0)
    one, two = weights(expected), weights(model)
    assert done.kept_step == alone.kept_step < STEPS
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4
