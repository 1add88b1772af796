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
from peft import LoraConfig, get_peft_model

from bench.data.batches import IGNORED, Example, collate
from bench.errors import Terminated
from bench.training import loss as loss_module
from bench.training.finetune import finetune
from bench.training.loss import target_loss
from bench.training.module import FineTuning
from bench.training.settings import TrainSettings

CONF = Path(__file__).resolve().parents[2] / "conf" / "method"
METHODS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "none")

SETTINGS = TrainSettings(
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


def examples(count=32):
    generator = torch.Generator().manual_seed(1)
    rows = []
    for _ in range(count):
        length = int(torch.randint(5, 20, (), generator=generator))
        ids = torch.randint(3, 200, (length,), generator=generator).tolist()
        rows.append(Example(ids, [IGNORED] * (length // 2) + ids[length // 2 :]))
    return rows


def adapted(base, dropout=0.0):
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], lora_dropout=dropout)
    return get_peft_model(base, config)


def trained(base, settings=SETTINGS, checkpoints=None, dropout=0.0, seed=0):
    model = adapted(base, dropout)
    result = finetune(model, examples(), examples(4), settings, seed, 0, checkpoints)
    return result, adapter_weights(model)


def adapter_weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def base_of(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def furthest(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("micro_batch_size", [2, 4])
def test_micro_batches_change_no_result(local_base, micro_batch_size):
    _, whole = trained(base_of(local_base))
    split = dataclasses.replace(SETTINGS, micro_batch_size=micro_batch_size)
    assert furthest(whole, trained(base_of(local_base), split)[1]) < 1e-5


def test_a_step_loss_is_the_mean_over_its_target_tokens(local_base):
    rows = examples(8)
    settings = dataclasses.replace(SETTINGS, epochs=1.0)
    model = adapted(base_of(local_base))
    sums = [target_loss(model, collate([row], pad_id=0)) for row in rows]
    mean = float(sum(sums).detach()) / sum(row.targets for row in rows)
    result = finetune(model, rows, [], settings, 0, 0)
    assert result.peak_bytes is None  # which a GPU alone tells
    assert result.steps == 1 and result.losses[0][1] == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("told", [True, False])
def test_the_loss_is_the_cross_entropy_of_the_targets_alone(local_base, monkeypatch, told):
    """Whether the model is told to leave the prompts' logits out, or does not take that."""
    monkeypatch.setattr(loss_module, "_takes", lambda *_: told)
    model = adapted(base_of(local_base))
    batch = collate(examples(6), pad_id=0)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
    )
    assert torch.allclose(target_loss(model, batch), expected, rtol=1e-5)


def test_llama_is_told_to_leave_logits_out(local_base):
    assert loss_module._takes(type(base_of(local_base)), "logits_to_keep")


def test_training_lowers_the_validation_loss_on_what_it_saw(local_base):
    model, rows = adapted(base_of(local_base)), examples()
    settings = dataclasses.replace(SETTINGS, epochs=6.0, validations=3)
    result = finetune(model, rows, rows, settings, 0, 0)
    losses = [loss for _, loss in result.validation]
    assert len(losses) == 3 and losses[-1] < losses[0]


def test_only_the_adapter_changes(local_base):
    base = base_of(local_base)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = adapted(base)
    finetune(model, examples(), [], SETTINGS, 0, 0)
    model.unload()
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


def test_the_seed_fixes_the_result(local_base):
    one, again, other = (trained(base_of(local_base), seed=seed)[1] for seed in (0, 0, 1))
    assert furthest(one, again) == 0.0 and furthest(one, other) > 0.0


def stop_after(monkeypatch, step):
    """Make training end, as by a kill, after a step."""
    whole = FineTuning.training_step

    def limited(self, number, index):
        if number == step:
            raise KeyboardInterrupt
        return whole(self, number, index)

    monkeypatch.setattr(FineTuning, "training_step", limited)


@pytest.mark.parametrize("step", [1, 3, 4, 5, 7])
def test_a_killed_training_goes_on_exactly_where_it_was(local_base, tmp_path, monkeypatch, step):
    undisturbed, weights = trained(base_of(local_base), dropout=0.2)
    often = dataclasses.replace(SETTINGS, checkpoint_minutes=1e-6)
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(KeyboardInterrupt):
            trained(base_of(local_base), often, tmp_path, dropout=0.2)
    assert (tmp_path / "last.ckpt").is_file()
    resumed, weights_again = trained(base_of(local_base), often, tmp_path, dropout=0.2)
    assert furthest(weights, weights_again) == 0.0
    assert resumed.losses == undisturbed.losses
    assert resumed.validation == undisturbed.validation


def test_a_training_killed_after_its_last_step_keeps_what_it_learned(local_base, tmp_path):
    often = dataclasses.replace(SETTINGS, checkpoint_minutes=1e-6)
    result, weights = trained(base_of(local_base), often, tmp_path)
    again, weights_again = trained(base_of(local_base), often, tmp_path)
    assert furthest(weights, weights_again) == 0.0 and again.losses == result.losses


def test_a_loss_that_is_no_number_ends_the_training(local_base):
    model = adapted(base_of(local_base))
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"lower train\.lr"):
        finetune(model, examples(), [], SETTINGS, 0, 0)


def test_a_process_told_to_end_says_so_and_not_that_all_is_well(local_base, monkeypatch):
    whole = FineTuning.training_step

    def terminated(self, step, index):
        os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, step, index)

    monkeypatch.setattr(FineTuning, "training_step", terminated)
    with pytest.raises(Terminated):
        trained(base_of(local_base))


def test_a_disk_that_is_full_leaves_the_state_before(local_base, tmp_path, monkeypatch):
    often = dataclasses.replace(SETTINGS, checkpoint_minutes=1e-6)
    undisturbed = trained(base_of(local_base), often)[1]
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
            trained(base_of(local_base), often, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert furthest(trained(base_of(local_base), often, tmp_path)[1], undisturbed) == 0.0


@pytest.mark.parametrize("base", ["untied", "tied"])
def test_a_checkpoint_holds_the_adapter_alone(local_base, fresh_tiny, tmp_path, base):
    often = dataclasses.replace(SETTINGS, checkpoint_minutes=1e-6)
    trained(base_of(local_base) if base == "untied" else fresh_tiny[0], often, tmp_path)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert state and all("lora_" in name for name in state)


def test_nothing_to_train_is_refused(local_base):
    model = base_of(local_base).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        finetune(model, examples(), [], SETTINGS, 0, 0)
    with pytest.raises(ValueError, match="no training row"):
        finetune(model, [], [], SETTINGS, 0, 0)


def test_training_imports_neither_hydra_nor_mlflow():
    script = (
        "import sys\n"
        "import bench.training.finetune, bench.training.adapters, bench.evaluation.evaluate\n"
        "import bench.models.loading, bench.data.sources\n"
        "sys.exit(', '.join({'hydra', 'mlflow', 'optuna', 'lm_eval'} & set(sys.modules)) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_one_step_on_a_gpu_lowers_the_loss(local_base, compose, name):
    from bench.methods import attach

    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    method = compose(f"method={name}", "++method.r=4").method
    torch.manual_seed(0)
    rows = examples(8)
    prompts = [row.ids for row in rows]
    model = attach(base_of(local_base).cuda(), method.module, method.options, prompts)
    settings = dataclasses.replace(SETTINGS, precision="auto", epochs=1.0, warmup=0.0)
    first = finetune(model, rows, [], settings, 0, 0).losses[0][1]
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    again = finetune(model, rows, [], settings, 0, 0)
    assert again.losses[0][1] < first
    assert again.peak_bytes > sum(p.numel() * p.element_size() for p in model.parameters())
