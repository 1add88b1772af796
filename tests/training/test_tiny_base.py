import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from bench.errors import Failure, InputError
from bench.training import tiny_base as module
from bench.training.probes import probe
from bench.training.tiny_base import (
    TinyBasePretraining,
    TinyBaseSettings,
    below_gates,
    make_tiny_base,
)

SETTINGS = TinyBaseSettings(
    output="",
    seed=0,
    phases=[{"steps": 2, "corpus": 0.5, "copy": 0.5}, {"steps": 2, "lookup": 1.0}],
    step_tokens=128,
    vocab_size=300,
    lr=1e-3,
    warmup=2,
    flat=0.5,
    weight_decay=0.05,
    precision="32-true",
    gates={"lookup": 0.0, "arithmetic": 0.0},
    checkpoint_minutes=1e-9,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Fewer texts for the tokenizer and the probes."""
    monkeypatch.setattr(module, "TOKENIZER_DOCUMENTS", 50)
    monkeypatch.setattr(module, "TOKENIZER_LOOKUPS", 10)
    monkeypatch.setattr(module, "VALIDATION_ROWS", 4)
    monkeypatch.setattr("bench.training.probes.ITEMS", 2)


def made(folder, **changes):
    settings = dataclasses.replace(SETTINGS, output=str(folder / "base"), **changes)
    return make_tiny_base(settings, folder / "states")


def test_a_killed_pretraining_resumes_exactly(killed, steps_taken, tmp_path):
    whole = load_file(made(tmp_path / "whole")[0] / "model.safetensors")
    with killed(TinyBasePretraining, 3):
        made(tmp_path / "killed")
    taken = steps_taken(TinyBasePretraining)
    resumed = load_file(made(tmp_path / "killed")[0] / "model.safetensors")
    assert taken == [3]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not list((tmp_path / "killed" / "states").iterdir())


def test_a_base_below_its_gates_does_not_replace_the_previous_one(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"the previous one")
    with pytest.raises(Failure, match=r"does not pass its gates: lookup 0\.00 < 0\.8"):
        made(tmp_path, gates={"lookup": 0.8, "arithmetic": 0.9})
    assert (tmp_path / "base" / "model.safetensors").read_bytes() == b"the previous one"
    record = json.loads((tmp_path / "base-below-gates" / "pretraining.json").read_text())
    assert record["probes"].keys() == {"lookup", "+", "-", "*", "/"}
    shares = {"lookup": 0.85, "+": 0.95, "/": 0.85}  # operations share a gate
    assert below_gates(shares, {"lookup": 0.8, "arithmetic": 0.9}) == ["/ 0.85 < 0.9"]


def test_the_loss_of_a_step_is_the_mean_over_its_target_tokens(local_base):
    step = TinyBasePretraining(SETTINGS, None, AutoModelForCausalLM.from_pretrained(local_base))
    ids = torch.randint(3, 200, (3, 6), generator=torch.Generator().manual_seed(0))
    short, long = ids[:1, :4], ids[1:]
    labels = long.clone()
    labels[:, 3:] = -100
    losses, counts = [], (3, 4)
    for part in ((short, short), (long, labels)):
        losses.append(step.model(input_ids=part[0], labels=part[1]).loss)
    expected = sum(n * loss for n, loss in zip(counts, losses, strict=True)) / sum(counts)
    found = step.loss([(short, short), (long, labels)])
    assert torch.allclose(found, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": [{"steps": 3, "copies": 1.0}]}, "unknown kind of row .* 'copies'.*copy"),
        ({"phases": [{"steps": 0, "copy": 1.0}]}, "at least one step"),
        ({"phases": [{"steps": 3, "copy": -1.0}]}, "must not be negative"),
        ({"step_tokens": 64}, "step_tokens must be at least 128"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SETTINGS, **changes)


def test_a_random_model_does_not_pass_the_probes(tiny, local_base):
    random = AutoModelForCausalLM.from_pretrained(local_base).eval()
    assert max(probe(random, tiny[1]).values()) == 0.0
