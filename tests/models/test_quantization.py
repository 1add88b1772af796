"""A base in 8 or 4 bits. What needs bitsandbytes is skipped without the extra [quant]."""

import dataclasses
import importlib.util

import pytest
import torch
from transformers import AutoConfig

from bench.errors import InputError
from bench.experiment import run
from bench.identity import identity
from bench.methods import attach
from bench.models import quantization
from bench.models.footprint import footprint
from bench.models.loading import load_base
from bench.models.quantization import check_quantization
from bench.models.settings import ModelSettings
from bench.models.shared import _bits, over_the_weights_of

CPU = torch.device("cpu")
HERE = importlib.util.find_spec("bitsandbytes") is not None
needs_bitsandbytes = pytest.mark.skipif(not HERE, reason="the extra [quant] is not installed")
METHODS = {
    "lora": {"r": 4, "target_modules": ["q_proj", "down_proj"]},
    "hyplora": {"r": 4, "target_modules": ["q_proj", "down_proj"]},
    "bottleneck": {
        "bottleneck_size": 4,
        "placement": "series",
        "target_modules": ["gate_proj", "down_proj"],
    },
    "prefix": {"num_virtual_tokens": 4},
}


def int8(path, kind="int8"):
    return ModelSettings("m", str(path), None, "float32", None, False, quantization=kind)


@pytest.fixture
def quantised():
    return load_base(int8("embedded"), CPU)


def plain_copy(model):
    """The embedded base in float32 with the numbers that the layers of int8 stand for."""
    plain, _ = load_base(int8("embedded", kind=None), CPU)
    for name, layer in model.named_modules():
        if type(layer).__name__ == "Linear8bitLt":
            weight = layer.weight.data.float() * layer.weight.SCB.view(-1, 1) / 127
            plain.get_submodule(name).weight.data = weight
    return plain


def test_without_bitsandbytes_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for kind in ("int8", "nf4"):
        with pytest.raises(InputError, match=r"needs the extra \[quant\]"):
            check_quantization(kind, CPU)
    check_quantization(None, CPU)


def test_nf4_without_a_gpu_is_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InputError, match="needs a CUDA GPU"):
        load_base(int8("owner/nowhere", "nf4"), CPU)
    check_quantization("nf4", torch.device("cuda"))


def test_an_unknown_quantization_is_refused(compose):
    with pytest.raises(InputError, match="Did you mean int8"):
        compose("model.quantization=int4")


def test_a_quantization_is_part_of_the_identity_and_batches_then_are(compose):
    def name(*overrides):
        return identity(dataclasses.asdict(compose(*overrides)), {}, "32-true", "torch.float32")

    kind = "model.quantization=int8"
    names = {name(), name(kind), name("model.quantization=nf4")}
    names |= {name(kind, "evaluation.batch_size=3"), name(kind, "train.micro_batch_size=2")}
    assert len(names) == 5 and name("model.quantization=null") == name()


def test_the_estimate_knows_what_is_quantised(family_base):
    config = AutoConfig.from_pretrained(family_base("llama"))
    whole, eight, four = (
        footprint(config, torch.float32, False, kind).weights for kind in (None, "int8", "nf4")
    )
    linear = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)  # of each of two layers
    assert whole - eight == 3 * linear
    assert whole - four == pytest.approx((4 - 0.516) * linear, rel=1e-3)


@needs_bitsandbytes
def test_the_estimate_of_int8_is_what_it_takes_but_for_its_constants(quantised):
    model, _ = quantised
    taken = sum(p.numel() * p.itemsize for p in model.parameters())
    config = AutoConfig.from_pretrained("bench/models/tiny")
    assert footprint(config, torch.float32, False, "int8").weights == taken


@needs_bitsandbytes
@pytest.mark.parametrize("method", METHODS)
def test_values_and_gradients_are_those_of_the_numbers_that_int8_stands_for(quantised, method):
    ids = torch.randint(3, 1400, (2, 20), generator=torch.Generator().manual_seed(0))
    found = []
    for base in (plain_copy(quantised[0]), quantised[0]):
        torch.manual_seed(1)
        model = attach(base, method, METHODS[method])
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.dtype == torch.float32
                if "_B." in name:  # which starts at 0, and would hide what A gets
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


@needs_bitsandbytes
def test_dora_on_int8_is_refused_on_a_processor(quantised):
    with pytest.raises(ValueError, match="needs a GPU"):
        attach(quantised[0], "lora", {**METHODS["lora"], "use_dora": True})


@needs_bitsandbytes
def test_runs_share_the_numbers_of_a_quantised_base(quantised):
    kept, _ = quantised
    ids = torch.randint(3, 1400, (1, 12))
    before = _bits(kept)
    one, other = over_the_weights_of(kept), over_the_weights_of(kept)
    with torch.no_grad():
        assert torch.equal(one(input_ids=ids).logits, other(input_ids=ids).logits)
        assert torch.equal(over_the_weights_of(kept)(input_ids=ids).logits, one(ids).logits)
    assert [p.data_ptr() for p in one.parameters()] == [p.data_ptr() for p in kept.parameters()]
    assert _bits(kept) == before


@needs_bitsandbytes
@pytest.mark.parametrize("method", ["hyplora", "parallel"])
def test_a_run_on_int8_goes_from_end_to_end_and_its_adapter_is_taken_up(compose, small, method):
    few = (*small, "model.quantization=int8", "data.test_size=2", "protocol.max_new_tokens=8")
    experiment = compose(*few, f"method={method}")
    outcome = run(experiment)
    assert outcome.record["config"]["model"]["quantization"] == "int8"
    again = dataclasses.replace(experiment, adapter=str(outcome.folder / "adapter"))
    assert run(again).record["scores"] == outcome.record["scores"]


@needs_bitsandbytes
def test_a_state_saved_on_int8_is_gone_on_from(compose, small):
    experiment = compose(*small, "model.quantization=int8", "method=hyplora", "train.epochs=2")
    whole = run(experiment)
    losses = whole.record["training"]["losses"]

    class Enough(Exception):
        pass

    seen = []

    def stop(step, loss):
        seen.append(step)
        if len(seen) == 2:  # a state is saved behind the first
            raise Enough

    forced = dataclasses.replace(experiment, force=True)
    forced = dataclasses.replace(
        forced, train=dataclasses.replace(forced.train, checkpoint_minutes=1e-6)
    )
    with pytest.raises(Enough):
        run(forced, watch=stop)
    assert (whole.folder / "checkpoint").exists()
    resumed = run(forced).record["training"]["losses"]
    assert [loss for _, loss in resumed] == pytest.approx([loss for _, loss in losses])


@pytest.mark.gpu
@needs_bitsandbytes
@pytest.mark.parametrize("kind", ["int8", "nf4"])
@pytest.mark.parametrize("method", ["hyplora", "lora", "dora", "parallel", "prefix"])
def test_each_method_trains_on_a_quantised_base_on_a_gpu(compose, small, method, kind):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    few = (*small, f"model.quantization={kind}", "data.test_size=2", "protocol.max_new_tokens=8")
    losses = run(compose(*few, f"method={method}")).record["training"]["losses"]
    assert losses[-1][1] < losses[0][1]
