import dataclasses
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.data.batches import collate
from bench.errors import Terminated
from bench.methods import attach
from bench.training import loss as loss_module
from bench.training.finetune import FineTuning, finetune
from bench.training.loss import target_loss

CONF = Path(__file__).resolve().parents[2] / "conf" / "method"
METHODS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "none")


@pytest.fixture(scope="module")
def adapted(local_base):
    def build(base=None, dropout=0.0):
        base = base or AutoModelForCausalLM.from_pretrained(local_base, dtype=torch.float32)
        torch.manual_seed(0)
        options = {"r": 4, "target_modules": ["q_proj", "down_proj"], "lora_dropout": dropout}
        return attach(base, "lora", options)

    return build


@pytest.fixture(scope="module")
def trained(adapted, rows, settings, trained_weights):
    def run(checkpoints=None, base=None, dropout=0.0, seed=0, **changes):
        model = adapted(base, dropout)
        if checkpoints:
            changes.setdefault("checkpoint_minutes", 1e-6)
        own = dataclasses.replace(settings, **changes)
        return finetune(model, rows(32), rows(4), own, seed, 0, checkpoints), trained_weights(model)

    return run


@pytest.fixture(scope="module")
def undisturbed(trained):
    return trained(dropout=0.2)


@pytest.mark.parametrize("micro_batch_size", [2, 4])
def test_micro_batches_change_no_result(trained, furthest, micro_batch_size):
    whole, split = trained()[1], trained(micro_batch_size=micro_batch_size)[1]
    assert furthest(whole, split) < 1e-5


def test_a_step_loss_is_the_mean_over_its_target_tokens(adapted, rows, settings):
    model = adapted()
    sums = [target_loss(model, collate([row], pad_id=0)) for row in rows(8)]
    mean = float(sum(sums).detach()) / sum(row.targets for row in rows(8))
    own = dataclasses.replace(settings, epochs=1.0)
    result = finetune(model, rows(8), [], own, 0, 0)
    assert result.peak_bytes is None  # on a CPU
    assert result.steps == 1 and result.losses[0][1] == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("supported", [True, False])
def test_the_loss_is_the_cross_entropy_of_the_targets(adapted, rows, monkeypatch, supported):
    model = adapted()
    assert loss_module._takes(type(model.get_base_model()), "logits_to_keep")
    monkeypatch.setattr(loss_module, "_takes", lambda *_: supported)
    batch = collate(rows(6), pad_id=0)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
    )
    assert torch.allclose(target_loss(model, batch), expected, rtol=1e-5)


def test_training_lowers_the_loss_and_changes_the_adapter_alone(adapted, rows, settings):
    model = adapted()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    own = dataclasses.replace(settings, epochs=6.0, validations=3)
    losses = [loss for _, loss in finetune(model, rows(32), rows(32), own, 0, 0).validation]
    assert len(losses) == 3 and losses[-1] < losses[0]
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed and all("lora_" in name for name in changed)


def test_the_seed_fixes_the_result(trained, furthest):
    one, again, other = (trained(seed=seed)[1] for seed in (0, 0, 1))
    assert furthest(one, again) == 0.0 and furthest(one, other) > 0.0


@pytest.mark.parametrize("step", [1, 3, 4, 5, 7])
def test_a_killed_training_resumes_exactly(trained, undisturbed, furthest, killed, tmp_path, step):
    result, weights = undisturbed
    with killed(FineTuning, step):
        trained(tmp_path, dropout=0.2)
    assert (tmp_path / "last.ckpt").is_file()
    resumed, weights_again = trained(tmp_path, dropout=0.2)
    assert furthest(weights, weights_again) == 0.0
    assert (resumed.losses, resumed.validation) == (result.losses, result.validation)


def test_a_finished_training_is_taken_from_its_state(trained, furthest, tmp_path, monkeypatch):
    result, weights = trained(tmp_path)
    monkeypatch.setattr(FineTuning, "training_step", None)
    again, weights_again = trained(tmp_path)
    assert furthest(weights, weights_again) == 0.0 and again.losses == result.losses


def test_a_damaged_state_is_deleted_and_the_training_starts_over(
    trained, undisturbed, furthest, tmp_path, caplog
):
    (tmp_path / "last.ckpt").write_bytes(b"half a file")
    assert furthest(trained(tmp_path, dropout=0.2)[1], undisturbed[1]) == 0.0
    assert "training starts over" in caplog.text


def test_a_loss_that_is_nan_ends_the_training(adapted, rows, settings):
    model = adapted()
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"lower train\.lr"):
        finetune(model, rows(8), [], settings, 0, 0)


def test_sigterm_is_an_error(trained, monkeypatch):
    whole = FineTuning.training_step

    def terminated(self, step, index):
        os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, step, index)

    monkeypatch.setattr(FineTuning, "training_step", terminated)
    with pytest.raises(Terminated):
        trained()


def test_a_full_disk_leaves_the_previous_state(
    trained, undisturbed, furthest, tmp_path, monkeypatch
):
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
            trained(tmp_path, dropout=0.2)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert furthest(trained(tmp_path, dropout=0.2)[1], undisturbed[1]) == 0.0


@pytest.mark.parametrize("base", ["untied", "tied"])
def test_a_state_holds_the_adapter_alone(trained, fresh_tiny, tmp_path, base):
    trained(tmp_path, base=fresh_tiny[0] if base == "tied" else None, epochs=0.5)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert state and all("lora_" in name for name in state)


def test_nothing_to_train_is_refused(adapted, rows, settings):
    model = adapted().requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        finetune(model, rows(8), [], settings, 0, 0)
    with pytest.raises(ValueError, match="no training row"):
        finetune(model, [], [], settings, 0, 0)


def test_neither_training_nor_the_measurement_imports_the_runners_dependencies():
    script = (
        "import sys, bench.efficiency.__main__\n"
        "import bench.training.finetune, bench.training.adapters, bench.evaluation.evaluate\n"
        "import bench.models.loading, bench.data.sources\n"
        "own = {'hydra', 'omegaconf', 'mlflow', 'optuna', 'lm_eval'}\n"
        "sys.exit(', '.join(own & set(sys.modules)) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_one_step_on_a_gpu_lowers_the_loss(local_base, rows, settings, compose, name):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    method = compose(f"method={name}", "++method.r=4").method
    base = AutoModelForCausalLM.from_pretrained(local_base, dtype=torch.float32).cuda()
    torch.manual_seed(0)
    model = attach(base, method.module, method.options, [row.ids for row in rows(8)])
    own = dataclasses.replace(settings, precision="auto", epochs=1.0, warmup=0.0)
    first = finetune(model, rows(8), [], own, 0, 0).losses[0][1]
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    again = finetune(model, rows(8), [], own, 0, 0)
    assert again.losses[0][1] < first
    assert again.peak_bytes > sum(p.numel() * p.element_size() for p in model.parameters())
