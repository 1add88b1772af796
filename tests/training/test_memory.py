"""What training does where memory does not hold as many rows as it was asked to take at once."""

import dataclasses

import pytest
import torch

from bench.data.batches import IGNORED, Example
from bench.errors import Failure
from bench.methods import attach
from bench.models.loading import load_base
from bench.models.settings import ModelSettings
from bench.training.finetune import finetune
from bench.training.module import FineTuning
from bench.training.settings import TrainSettings

pytestmark = pytest.mark.usefixtures("few_objects")

SETTINGS = TrainSettings(
    lr=1e-2,
    epochs=1.0,
    batch_size=8,
    micro_batch_size=2,
    devices=1,
    curvature_lr_factor=1.0,
    weight_decay=0.0,
    warmup=0.1,
    decay="linear",
    gradient_clip=1.0,
    train_on_inputs=False,
    precision="32-true",
    validations=2,
    checkpoint_minutes=1e-6,
)
ADAPTER = {"r": 4, "target_modules": ["q_proj", "down_proj"]}


def rows(count=28):
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(count):
        length = int(torch.randint(5, 20, (), generator=generator))
        ids = torch.randint(3, 200, (length,), generator=generator).tolist()
        made.append(Example(ids, [IGNORED] * (length // 2) + ids[length // 2 :]))
    return made


@pytest.fixture
def train(local_base):
    """Fine-tune in a memory that holds `fits` rows: what was done, and the adapter."""

    def run(fits=None, dropout=0.0, checkpoints=None, **changes):
        base, _ = load_base(
            ModelSettings("local", str(local_base), None, "float32", None, False),
            torch.device("cpu"),
        )
        torch.manual_seed(0)
        model = attach(base, "lora", ADAPTER | {"lora_dropout": dropout})
        passes = []

        def full(module, args, options):
            passes.append(len(options["input_ids"]))
            # Not in the first pass: a step is then half done when memory runs out.
            if fits is not None and len(passes) > 1 and passes[-1] > fits:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        model.register_forward_pre_hook(full, with_kwargs=True)
        settings = dataclasses.replace(SETTINGS, **changes)
        done = finetune(model, rows(), rows(6), settings, 0, 0, checkpoints, title="lora")
        return done, {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}

    return run


def same(one, other, tolerance):
    return all(torch.allclose(one[n], other[n], rtol=0, atol=tolerance) for n in one)


def test_a_step_that_does_not_fit_is_done_again_in_halves(train):
    small, expected = train()
    done, adapter = train(fits=2, micro_batch_size=8)
    assert (done.micro_batch_size, small.micro_batch_size) == (2, 2)
    assert same(adapter, expected, 1e-5)
    for one, other in ((done.losses, small.losses), (done.validation, small.validation)):
        assert [step for step, _ in one] == [step for step, _ in other]
        assert [loss for _, loss in one] == pytest.approx([loss for _, loss in other], rel=1e-5)


def test_a_step_done_again_draws_the_same_random_numbers(train):
    # Its first micro-batch of four fits, the second does not.
    assert same(train(fits=2, micro_batch_size=4, dropout=0.3)[1], train(dropout=0.3)[1], 0.0)


def test_the_person_is_told_once(train, capsys):
    train(fits=2, micro_batch_size=4, validations=0)
    said = capsys.readouterr().out
    assert said.count("out of memory") == 1
    assert "lora: out of memory with 4 rows at once; continuing with 2" in said


def test_a_row_that_does_not_fit_alone_ends_the_training(train):
    with pytest.raises(Failure, match=r"not even one row fits .* model\.dtype=bfloat16"):
        train(fits=0)


def test_a_resume_knows_what_did_not_fit(train, tmp_path, monkeypatch, capsys):
    undisturbed = train(dropout=0.3)[1]
    whole = FineTuning.training_step

    def killed(self, step, index):
        if step == 2:
            raise KeyboardInterrupt
        return whole(self, step, index)

    options = {"fits": 2, "dropout": 0.3, "checkpoints": tmp_path, "micro_batch_size": 4}
    with monkeypatch.context() as patch:
        patch.setattr(FineTuning, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(**options)
    capsys.readouterr()
    done, adapter = train(**options)
    assert done.micro_batch_size == 2 and same(adapter, undisturbed, 0.0)
    assert "lora: out of memory" not in capsys.readouterr().out
