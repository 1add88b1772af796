"""Training with less memory than the micro-batch size needs."""

import dataclasses

import pytest
import torch

from bench.errors import Failure
from bench.methods import attach
from bench.models.loading import load_base
from bench.training.finetune import FineTuning, finetune

pytestmark = pytest.mark.usefixtures("few_objects")
ADAPTER = {"r": 4, "target_modules": ["q_proj", "down_proj"]}


@pytest.fixture
def train(where, rows, settings, trained_weights):
    """Fine-tune in a memory that holds `fits` rows: the result, and the adapter."""

    def run(fits=None, dropout=0.0, checkpoints=None, **changes):
        base, _ = load_base(where, torch.device("cpu"))
        torch.manual_seed(0)
        model = attach(base, "lora", ADAPTER | {"lora_dropout": dropout})
        passes = []

        def full(module, args, options):
            passes.append(len(options["input_ids"]))
            # The first pass always fits, so that memory runs out in the middle of a step.
            if fits is not None and len(passes) > 1 and passes[-1] > fits:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        model.register_forward_pre_hook(full, with_kwargs=True)
        defaults = {"epochs": 1.0, "micro_batch_size": 2, "checkpoint_minutes": 1e-6}
        own = dataclasses.replace(settings, **defaults | changes)
        done = finetune(model, rows(28), rows(6), own, 0, 0, checkpoints, title="lora")
        return done, trained_weights(model)

    return run


def test_a_step_that_does_not_fit_is_repeated_in_halves(train, furthest):
    small, expected = train()
    done, adapter = train(fits=2, micro_batch_size=8)
    assert (done.micro_batch_size, small.micro_batch_size) == (2, 2)
    assert furthest(adapter, expected) < 1e-5
    for one, other in ((done.losses, small.losses), (done.validation, small.validation)):
        assert [step for step, _ in one] == [step for step, _ in other]
        assert [loss for _, loss in one] == pytest.approx([loss for _, loss in other], rel=1e-5)


def test_a_repeated_step_draws_the_same_random_numbers_and_is_reported_once(
    train, furthest, capsys
):
    # Of its micro-batches of four the first fits, the second does not.
    changes = {"dropout": 0.3, "validations": 0}
    adapter = train(fits=2, micro_batch_size=4, **changes)[1]
    printed = capsys.readouterr().out
    assert furthest(adapter, train(**changes)[1]) == 0
    assert printed.count("out of memory") == 1
    assert "lora: out of memory with 4 rows at once; continuing with 2" in printed


def test_a_single_row_that_does_not_fit_ends_the_training(train):
    with pytest.raises(Failure, match=r"not even one row fits .* model\.dtype=bfloat16"):
        train(fits=0)


def test_a_resume_starts_with_the_micro_batches_that_fit(train, furthest, killed, tmp_path, capsys):
    undisturbed = train(dropout=0.3)[1]
    options = {"fits": 2, "dropout": 0.3, "checkpoints": tmp_path, "micro_batch_size": 4}
    with killed(FineTuning, 2):
        train(**options)
    capsys.readouterr()
    done, adapter = train(**options)
    assert done.micro_batch_size == 2 and furthest(adapter, undisturbed) == 0
    assert "lora: out of memory" not in capsys.readouterr().out
