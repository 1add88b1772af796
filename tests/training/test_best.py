"""keep=best: the adapter at the lowest validation loss."""

import dataclasses

import pytest
import torch

from bench.data.batches import collate
from bench.methods import attach
from bench.models.loading import load_base
from bench.training.finetune import FineTuning, finetune
from bench.training.loss import target_loss

STEPS = 8


@pytest.fixture(scope="module")
def best(settings):
    """With a learning rate so high that the loss on unseen rows rises again."""
    return dataclasses.replace(
        settings, lr=0.1, epochs=4.0, warmup=1, decay="constant", validate_every=3, keep="best"
    )


@pytest.fixture(scope="module")
def train(where, best, rows):
    def run(checkpoints=None, validation=None, dropout=0.1, **changes):
        base, _ = load_base(where, torch.device("cpu"))
        torch.manual_seed(0)
        options = {"r": 4, "target_modules": ["q_proj", "down_proj"], "lora_dropout": dropout}
        model = attach(base, "lora", options)
        if checkpoints:
            changes["checkpoint_minutes"] = 1e-6
        own = dataclasses.replace(best, **changes)
        unseen = validation or rows(4, seed=2, tokens=12)
        return finetune(
            model, rows(16, tokens=12), unseen, own, 0, 0, checkpoints, base=where
        ), model

    return run


@pytest.fixture(scope="module")
def undisturbed(train, trained_weights):
    done, model = train()
    return done, model, trained_weights(model)


def loss_of(model, rows):
    with torch.no_grad():
        return float(target_loss(model, collate(rows, pad_id=0))) / sum(r.targets for r in rows)


def test_the_adapter_is_that_of_the_lowest_validation_loss(undisturbed, rows):
    done, model, _ = undisturbed
    losses = dict(done.validation)
    assert list(losses) == [3, 6] and losses[3] < losses[6]
    assert done.kept_step == 3
    assert loss_of(model, rows(4, seed=2, tokens=12)) == pytest.approx(losses[3], rel=1e-5)


def test_keep_last_ends_with_the_last_adapter(train, rows):
    done, model = train(keep="last", validate_every=STEPS)
    assert done.kept_step == STEPS
    assert loss_of(model, rows(4, seed=2, tokens=12)) == pytest.approx(
        done.validation[-1][1], rel=1e-5
    )


def test_the_best_adapter_may_be_the_last(train, rows, trained_weights, furthest):
    fits = {"lr": 1e-2, "validate_every": 4, "validation": rows(16, tokens=12)}
    done, model = train(**fits)
    _, last = train(keep="last", **fits)
    assert done.kept_step == STEPS
    assert furthest(trained_weights(model), trained_weights(last)) == 0


def test_an_interval_longer_than_the_training_validates_at_its_end(train):
    done, _ = train(validate_every=200)
    assert [step for step, _ in done.validation] == [STEPS] and done.kept_step == STEPS


@pytest.mark.parametrize("step", [2, 3, 5, 7, STEPS])
def test_a_killed_training_ends_with_the_same_adapter(
    train, undisturbed, killed, trained_weights, furthest, tmp_path, step
):
    expected, _, weights = undisturbed
    if step < STEPS:
        with killed(FineTuning, step):
            train(tmp_path)
    else:  # after its last step
        train(tmp_path)
        assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == STEPS
    done, model = train(tmp_path)
    assert furthest(trained_weights(model), weights) == 0
    assert (done.kept_step, done.validation) == (expected.kept_step, expected.validation)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    best = torch.load(tmp_path / "last.ckpt", weights_only=True)["progress"]["best"]
    kept = {f"model.{name}": value for name, value in weights.items()}
    assert best["step"] == 3 and furthest(best["weights"], kept) == 0


@pytest.mark.slow  # two processes
def test_ranks_return_the_best_adapter(train, trained_weights, furthest):
    few = {"micro_batch_size": 4, "lr": 0.03, "dropout": 0.0}
    alone, expected = train(**few)
    done, model = train(**few, devices=2)
    assert done.kept_step == alone.kept_step < STEPS
    assert furthest(trained_weights(expected), trained_weights(model)) < 1e-4
