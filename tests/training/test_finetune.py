import errno
import os
import signal
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.config import PROJECT
from bench.data.batches import collate, step_order
from bench.errors import Terminated
from bench.methods import attach
from bench.training import loop
from bench.training import loss as loss_module
from bench.training.finetune import FineTuning
from bench.training.loss import target_loss

METHODS = sorted(path.stem for path in PROJECT.glob("conf/method/*.yaml") if path.stem != "none")


@pytest.fixture(scope="module")
def undisturbed(train):
    return train(dropout=0.2)


def test_micro_batches_change_no_result(train, assert_close, lora, rows):
    whole = train()
    for micro_batch_size in (2, 4):
        assert_close(whole, train(micro_batch_size=micro_batch_size))
    first = step_order(32, 8, 2.0, seed=0)[0]
    sums = [target_loss(lora, collate([rows(32)[i]], pad_id=0)) for i in first]
    mean = float(sum(sums).detach()) / sum(rows(32)[i].targets for i in first)
    assert whole.done.losses[0][1] == pytest.approx(mean, rel=1e-5)
    assert whole.done.steps == 8 and whole.done.peak_bytes is None  # on a CPU


def test_a_budget_of_tokens_changes_no_result(train, assert_close):
    whole = train(dropout=0.2, epochs=1.0)
    for budget in (1, 40):
        found = train(dropout=0.2, epochs=1.0, micro_tokens=budget)
        assert_close(whole, found)
        assert dict(found.done.losses) == pytest.approx(dict(whole.done.losses), rel=1e-6)
        assert (found.done.micro_batch_size, found.done.micro_tokens) == (None, budget)
    assert train(epochs=0.25, micro_tokens=10**9).done.padding > found.done.padding


@pytest.mark.parametrize("supported", [True, False])
def test_the_loss_is_the_cross_entropy_of_the_targets(lora, rows, monkeypatch, supported):
    assert loss_module._takes(type(lora.get_base_model()), "logits_to_keep")
    monkeypatch.setattr(loss_module, "_takes", lambda *_: supported)
    batch = collate(rows(6), pad_id=0)
    logits = lora(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
    )
    assert torch.allclose(target_loss(lora, batch), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"r": 4, "target_modules": ["q_proj"]}),
        ("hyplora", {"r": 4, "target_modules": ["q_proj"]}),
        ("prefix", {"num_virtual_tokens": 3}),
    ],
)
def test_a_base_with_causal_attention_needs_no_mask(fresh_tiny, rows, monkeypatch, method, options):
    model = attach(fresh_tiny[0], method, options)
    batch = collate(rows(6), pad_id=0)
    assert not batch["attention_mask"].all()
    free = target_loss(model, batch)
    other = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 7)
    assert torch.equal(target_loss(model, batch | {"input_ids": other}), free)
    monkeypatch.setattr(loss_module, "MASK_FREE", frozenset())
    assert torch.allclose(target_loss(model, batch), free, rtol=1e-6)


def test_training_lowers_the_loss_and_changes_the_adapter_alone(train, lora, rows):
    before = {name: value.clone() for name, value in lora.state_dict().items()}
    done = train(model=lora, validation=rows(32), epochs=6.0, validations=3).done
    losses = [loss for _, loss in done.validation]
    assert len(losses) == 3 and losses[-1] < losses[0]
    changed = {n for n, value in lora.state_dict().items() if not torch.equal(value, before[n])}
    assert changed and all("lora_" in name for name in changed)


def test_the_seed_fixes_the_result(train, furthest):
    one, again, other = (train(seed=seed).weights for seed in (0, 0, 1))
    assert furthest(one, again) == 0.0 and furthest(one, other) > 0.0


def test_a_damaged_state_is_deleted_and_the_training_starts_over(
    train, undisturbed, furthest, tmp_path, caplog
):
    (tmp_path / "last.ckpt").write_bytes(b"half a file")
    assert furthest(train(tmp_path, dropout=0.2).weights, undisturbed.weights) == 0.0
    assert "training starts over" in caplog.text


def test_a_loss_that_is_nan_ends_the_training(train, lora):
    with torch.no_grad():
        next(p for p in lora.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"lower train\.lr"):
        train(model=lora)


def test_a_last_update_that_diverges_ends_the_training(train, lora):
    with pytest.raises(FloatingPointError, match=r"lora_A.* after the last step: lower train\.lr"):
        train(model=lora, epochs=0.25, validation=[], warmup=0, lr=1e30, weight_decay=1e30)


def test_the_seconds_are_those_of_the_steps_alone(train, monkeypatch):
    clock = [0.0]
    for name, seconds in (("training_step", 1.0), ("measure", 100.0)):
        whole = getattr(FineTuning, name)

        def timed(self, *args, whole=whole, seconds=seconds):
            clock[0] += seconds
            return whole(self, *args)

        monkeypatch.setattr(FineTuning, name, timed)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert train().done.seconds == 8.0 and clock[0] == 208.0


def test_sigterm_is_an_error(train, monkeypatch):
    whole = FineTuning.training_step

    def terminated(self, step, index):
        os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, step, index)

    monkeypatch.setattr(FineTuning, "training_step", terminated)
    with pytest.raises(Terminated):
        train()


def test_a_full_disk_leaves_the_previous_state(train, undisturbed, furthest, tmp_path, monkeypatch):
    save, saves = L.Trainer.save_checkpoint, []

    def fills_up(self, path, *options, **more):
        saves.append(path)
        save(self, path, *options, **more)
        if len(saves) == 3:
            path.write_bytes(path.read_bytes()[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(L.Trainer, "save_checkpoint", fills_up)
        with pytest.raises(OSError, match="No space left"):
            train(tmp_path, dropout=0.2)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert furthest(train(tmp_path, dropout=0.2).weights, undisturbed.weights) == 0.0


@pytest.mark.parametrize("tied", [False, True])
def test_a_state_holds_the_adapter_alone(train, fresh_tiny, tmp_path, tied):
    model = attach(fresh_tiny[0], "lora", {"r": 4, "target_modules": ["q_proj"]}) if tied else None
    train(tmp_path, model=model, epochs=0.5)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert state and all("lora_" in name for name in state)


def test_the_largest_seed_is_taken(train):
    assert train(seed=2**63 - 1, epochs=0.25).done.steps == 1


def test_nothing_to_train_is_refused(train, lora):
    with pytest.raises(ValueError, match="no training row"):
        train(model=lora, examples=[])
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        train(model=lora.requires_grad_(False))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", METHODS)
def test_one_step_in_mixed_precision_lowers_the_loss(
    train, local_base, rows, compose, name, device
):
    method = compose(f"method={name}").method
    base = AutoModelForCausalLM.from_pretrained(local_base, dtype=torch.float32).to(device)
    torch.manual_seed(0)
    model = attach(base, method.module, method.options, [row.ids for row in rows(8)])
    given = {"model": model, "examples": rows(8), "epochs": 1.0, "warmup": 0.0}
    given |= {"precision": "bf16-mixed" if device == "cpu" else "auto", "validation": []}
    first, again = (train(**given).done for _ in range(2))
    assert {p.device.type for p in model.parameters()} == {device}
    assert again.losses[0][1] < first.losses[0][1]
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    assert device == "cpu" or again.peak_bytes > weights
