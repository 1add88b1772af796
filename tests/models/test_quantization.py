"""Bases in 8 or 4 bits; tests that need bitsandbytes are skipped without the extra [quant]."""

import dataclasses
import importlib.util

import pytest
import torch
from torch import nn
from transformers import AutoConfig

from bench.errors import InputError
from bench.experiment import run
from bench.identity import identity
from bench.methods import attach
from bench.models import quantization
from bench.models.footprint import footprint
from bench.models.loading import load_base
from bench.models.quantization import check_quantization
from bench.models.shared import _checksums, with_shared_weights
from tests.helpers import model_at

CPU = torch.device("cpu")
HERE = importlib.util.find_spec("bitsandbytes") is not None
needs_bitsandbytes = pytest.mark.skipif(not HERE, reason="the extra [quant] is not installed")
TARGETS = {"target_modules": ["gate_proj", "down_proj"]}
METHODS = {
    "lora": {"r": 4, **TARGETS},
    "hyplora": {"r": 4, **TARGETS},
    "bottleneck": {"bottleneck_size": 4, "placement": "series", **TARGETS},
    "prefix": {"num_virtual_tokens": 4},
}


def int8(path, kind="int8"):
    return model_at(path, quantization=kind)


@pytest.fixture
def quantised():
    return load_base(int8("embedded"), CPU)


def plain_copy(model):
    """The embedded base in float32 with the dequantised weights of an int8 model."""
    plain, _ = load_base(int8("embedded", kind=None), CPU)
    for name, layer in model.named_modules():
        if type(layer).__name__ == "Linear8bitLt":
            weight = layer.weight.data.float() * layer.weight.SCB.view(-1, 1) / 127
            plain.get_submodule(name).weight.data = weight
    return plain


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_without_bitsandbytes_the_extra_is_named(monkeypatch, kind):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_quantization(None, CPU)
    with pytest.raises(InputError, match=r"needs the extra \[quant\]"):
        check_quantization(kind, CPU)


def test_nf4_without_a_gpu_is_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InputError, match="needs a CUDA GPU"):
        load_base(int8("owner/nowhere", "nf4"), CPU)
    check_quantization("nf4", torch.device("cuda"))


def test_a_quantization_and_then_batches_are_part_of_the_identity(compose):
    def name(*overrides):
        return identity(dataclasses.asdict(compose(*overrides)), {}, "32-true", "torch.float32")

    kind = "model.quantization=int8"
    names = {name(), name(kind), name("model.quantization=nf4")}
    names |= {name(kind, "evaluation.batch_size=3"), name(kind, "train.micro_batch_size=2")}
    names.add(name(kind, "evaluation.batching=continuous"))
    assert len(names) == 6


def test_the_estimate_knows_what_is_quantised(family_base):
    config = AutoConfig.from_pretrained(family_base("llama"))
    whole, eight, four = (
        footprint(config, torch.float32, False, kind)[0] for kind in (None, "int8", "nf4")
    )
    linear = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)  # of each of two layers
    assert whole - eight == 3 * linear
    assert whole - four == pytest.approx((4 - 0.516) * linear, rel=1e-3)


@needs_bitsandbytes
def test_the_estimate_of_int8_is_exact_but_for_its_constants(quantised):
    config = AutoConfig.from_pretrained("bench/models/tiny")
    taken = sum(p.numel() * p.itemsize for p in quantised[0].parameters())
    assert footprint(config, torch.float32, False, "int8")[0] == taken


@needs_bitsandbytes
@pytest.mark.parametrize("method", METHODS)
def test_values_and_gradients_are_those_of_dequantised_weights(quantised, method):
    ids = torch.randint(3, 1400, (2, 20), generator=torch.Generator().manual_seed(0))
    found = []
    for base in (plain_copy(quantised[0]), quantised[0]):
        torch.manual_seed(1)
        model = attach(base, method, METHODS[method])
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.dtype == torch.float32
                if "_B." in name:  # zero at first, and so would be the gradient of A
                    torch.nn.init.normal_(parameter, std=0.02)
        with torch.no_grad():
            model(input_ids=ids)
        loss = model.train()(input_ids=ids, labels=ids).loss
        loss.backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((loss.item(), torch.cat(grads)))
    (loss, grads), (loss8, grads8) = found
    assert loss8 == pytest.approx(loss, rel=1e-5)
    assert torch.linalg.norm(grads8 - grads) < 1e-3 * torch.linalg.norm(grads)


class Packed(nn.Linear):
    """Weights of 4 bits, two to a byte, as bitsandbytes' nf4 stores them."""

    def pack(self):
        self.scale = self.weight.detach().abs().max() / 7
        codes = (self.weight.detach() / self.scale).round().int() + 8
        packed = codes.flatten()[::2] * 16 + codes.flatten()[1::2]
        self.shape = self.weight.shape
        self.weight = nn.Parameter(packed.to(torch.uint8).view(-1, 1), requires_grad=False)

    def dequantised(self):
        codes = torch.cat([self.weight // 16, self.weight % 16], 1).flatten().float() - 8
        return codes.view(self.shape) * self.scale

    def forward(self, x):
        return nn.functional.linear(x, self.dequantised())


@pytest.mark.parametrize("method", ["hyplora", "lora", "bottleneck"])
def test_an_adapter_over_4_bits_learns_as_over_the_dequantised_weights(fresh_tiny, method):
    packed, losses = fresh_tiny[0], []
    for layer in packed.modules():
        if type(layer) is nn.Linear and layer is not packed.lm_head:
            layer.__class__ = Packed
            layer.pack()
    plain, _ = load_base(int8("embedded", kind=None), CPU)
    for name, layer in packed.named_modules():
        if isinstance(layer, Packed):
            plain.get_submodule(name).weight.data = layer.dequantised()
    ids = torch.randint(3, 1400, (2, 20), generator=torch.Generator().manual_seed(0))
    for base in (packed, plain):
        torch.manual_seed(1)
        model = attach(base, method, METHODS[method]).train()
        trained = [p for p in model.parameters() if p.requires_grad]
        assert {p.dtype for p in trained} == {torch.float32}
        optimizer = torch.optim.AdamW(trained, lr=1e-2)
        for _ in range(5):
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    assert losses[:5] == pytest.approx(losses[5:], rel=1e-5) and losses[4] < losses[0]


@needs_bitsandbytes
def test_dora_on_int8_is_refused_on_a_cpu(quantised):
    with pytest.raises(ValueError, match="needs a GPU"):
        attach(quantised[0], "lora", {**METHODS["lora"], "use_dora": True})


@needs_bitsandbytes
def test_runs_share_the_weights_of_a_quantised_base(quantised):
    kept, _ = quantised
    ids = torch.randint(3, 1400, (1, 12))
    before = _checksums(kept)
    one, other = with_shared_weights(kept), with_shared_weights(kept)
    with torch.no_grad():
        assert torch.equal(one(input_ids=ids).logits, other(input_ids=ids).logits)
        assert torch.equal(with_shared_weights(kept)(input_ids=ids).logits, one(ids).logits)
    assert [p.data_ptr() for p in one.parameters()] == [p.data_ptr() for p in kept.parameters()]
    assert _checksums(kept) == before


@needs_bitsandbytes
@pytest.mark.parametrize("method", ["hyplora", "parallel"])
def test_a_run_on_int8_and_another_with_its_adapter(compose, small, method):
    few = (*small, "model.quantization=int8", "data.test_size=2", "protocol.max_new_tokens=8")
    experiment = compose(*few, f"method={method}")
    outcome = run(experiment)
    assert outcome.record["config"]["model"]["quantization"] == "int8"
    again = dataclasses.replace(experiment, adapter=str(outcome.folder / "adapter"))
    assert run(again).record["scores"] == outcome.record["scores"]


@needs_bitsandbytes
def test_a_run_on_int8_is_resumed(compose, small):
    experiment = compose(*small, "model.quantization=int8", "method=hyplora", "train.epochs=2")
    whole = run(experiment)
    losses, seen = whole.record["training"]["losses"], []

    def stop(step, loss):
        seen.append(step)
        if len(seen) == 2:  # a state is saved after the first
            raise KeyError("stopped")

    train = dataclasses.replace(experiment.train, checkpoint_minutes=1e-6)
    forced = dataclasses.replace(experiment, force=True, train=train)
    with pytest.raises(KeyError, match="stopped"):
        run(forced, watch=stop)
    assert (whole.folder / "checkpoint").exists()
    resumed = run(forced).record["training"]["losses"]
    assert [loss for _, loss in resumed] == pytest.approx([loss for _, loss in losses])


@pytest.mark.gpu
@needs_bitsandbytes
@pytest.mark.parametrize("kind", ["int8", "nf4"])
@pytest.mark.parametrize("method", ["hyplora", "lora", "dora", "parallel", "prefix"])
def test_each_method_trains_on_a_quantised_base_on_a_gpu(compose, small, method, kind):
    few = (*small, f"model.quantization={kind}", "data.test_size=2", "protocol.max_new_tokens=8")
    words = (*few, f"method={method}", "train.epochs=8")
    losses = run(compose(*words)).record["training"]["losses"]
    assert losses[-1][1] < losses[0][1]
