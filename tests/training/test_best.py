"""keep=best: the adapter at the lowest validation loss."""

import pytest
import torch

from bench.data.batches import collate
from bench.training.finetune import FineTuning
from bench.training.loss import target_loss

STEPS = 8


@pytest.fixture(scope="module")
def best(train, rows):
    """With a learning rate so high that the loss on unseen rows rises again."""
    defaults = {"lr": 0.1, "epochs": 4.0, "warmup": 1, "decay": "constant", "validate_every": 3}
    defaults |= {"keep": "best", "dropout": 0.1, "examples": rows(16, tokens=12)}
    defaults["validation"] = rows(4, seed=2, tokens=12)
    return lambda checkpoints=None, **changes: train(checkpoints, **defaults | changes)


@pytest.fixture(scope="module")
def undisturbed(best):
    return best()


def loss_of(model, rows):
    with torch.no_grad():
        return float(target_loss(model, collate(rows, pad_id=0))) / sum(r.targets for r in rows)


def test_the_adapter_is_that_of_the_lowest_validation_loss(undisturbed, rows):
    done, losses = undisturbed.done, dict(undisturbed.done.validation)
    assert list(losses) == [3, 6] and losses[3] < losses[6] and done.kept_step == 3
    found = loss_of(undisturbed.model, rows(4, seed=2, tokens=12))
    assert found == pytest.approx(losses[3], rel=1e-5)


def test_keep_last_ends_with_the_last_adapter(best, rows):
    done, _, model = best(keep="last", validate_every=200)  # validates at the end, if that is less
    assert [step for step, _ in done.validation] == [STEPS] and done.kept_step == STEPS
    found = loss_of(model, rows(4, seed=2, tokens=12))
    assert found == pytest.approx(done.validation[-1][1], rel=1e-5)


def test_the_best_adapter_may_be_the_last(best, rows, furthest):
    fits = {"lr": 1e-2, "validate_every": 4, "validation": rows(16, tokens=12)}
    found = best(**fits)
    assert found.done.kept_step == STEPS
    assert furthest(found.weights, best(keep="last", **fits).weights) == 0


@pytest.mark.parametrize("step", [2, 3, STEPS])
def test_a_killed_training_ends_with_the_same_adapter(
    best, undisturbed, killed, steps_taken, furthest, tmp_path, step
):
    if step < STEPS:
        with killed(FineTuning, step):
            best(tmp_path)
    else:  # after its last step
        best(tmp_path, checkpoint_minutes=60.0)
    taken = steps_taken(FineTuning)
    found = best(tmp_path)
    assert taken == list(range(step, STEPS))
    assert furthest(found.weights, undisturbed.weights) == 0
    assert found.done.kept_step == undisturbed.done.kept_step
    assert found.done.validation == undisturbed.done.validation
    assert found.done.losses == undisturbed.done.losses
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["progress"]["best"]
    kept = {f"model.{name}": value for name, value in undisturbed.weights.items()}
    assert saved["step"] == 3 and furthest(saved["weights"], kept) == 0


@pytest.mark.slow  # two processes
def test_ranks_return_the_best_adapter(best, furthest):
    few = {"micro_batch_size": 4, "lr": 0.03, "dropout": 0.0}
    alone, two = best(**few), best(**few, devices=2)
    assert two.done.kept_step == alone.done.kept_step < STEPS
    assert furthest(alone.weights, two.weights) < 1e-4
