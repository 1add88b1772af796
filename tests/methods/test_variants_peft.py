"""Every variant in peft, on a language model, and in what training does around a model."""

from __future__ import annotations

import copy
import os

import peft
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from bench.methods import HypLoraConfig
from bench.methods.hyplora import VARIANTS, HypLoraLinear, reference

R, WIDTH, MLP = 4, 32, 48
NONLINEAR = sorted(set(VARIANTS) - {"tangent"})
every = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": MLP, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes, **heads)).eval()


@pytest.fixture
def adapted(llama):
    """Makes a copy of the model with a trained-looking adapter; seeded."""

    def make(variant, base=None, **options):
        torch.manual_seed(1)
        options = {"r": R, "target_modules": ["q_proj", "down_proj"], "curvature": 0.7, **options}
        config = HypLoraConfig(task_type="CAUSAL_LM", variant=variant, **options)
        model = peft.get_peft_model(copy.deepcopy(llama) if base is None else base, config)
        randomise(model)
        return model

    return make


def randomise(model, adapter="default"):
    generator = torch.Generator().manual_seed(len(adapter))
    for layer in layers(model):
        if adapter in layer.hyplora_B:
            layer.hyplora_B[adapter].weight.data.normal_(std=0.3, generator=generator)


def layers(model):
    return [module for module in model.modules() if isinstance(module, HypLoraLinear)]


def ids():
    return torch.arange(2 * 7).reshape(2, 7)


def logits(model):
    with torch.no_grad():
        return model(input_ids=ids(), use_cache=False).logits


def step(model):
    """One backward pass; the gradients of what is trained, by name."""
    model.zero_grad()
    model(input_ids=ids(), labels=ids(), use_cache=False).loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


@every
def test_a_layer_adds_the_literal_update_times_alpha_over_r(adapted, variant):
    layer = layers(adapted(variant, lora_alpha=12).double())[1]
    x = torch.randn(3, MLP, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    A, B = layer.hyplora_A["default"].weight, layer.hyplora_B["default"].weight
    K, s = layer.curvature("default"), layer.hyplora_s["default"]
    expected = layer.base_layer(x) + 12 / R * getattr(reference, variant)(x, A, B, K, s)
    assert torch.allclose(layer(x), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("variant", "scalars"),
    [("rotation", 1), ("boost", 1), ("tangent", 1), ("authors", 2), ("authors_simplified", 1)],
)
def test_a_variant_trains_its_factors_and_its_own_scalars(adapted, variant, scalars):
    model = adapted(variant, target_modules=["down_proj"])
    extra = VARIANTS[variant].time_columns
    factors = R * (MLP + extra) + WIDTH * (R + extra)
    assert model.get_nb_trainable_parameters()[0] == 2 * (factors + scalars)


@every
def test_every_trained_number_has_a_finite_gradient_that_moves_it(adapted, variant):
    assert all(
        torch.isfinite(g).all() and g.abs().max() > 0 for g in step(adapted(variant)).values()
    )


@every
def test_a_saved_adapter_comes_back_bit_equal(adapted, llama, tmp_path, variant):
    model = adapted(variant)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(llama), tmp_path).eval()
    assert loaded.peft_config["default"].variant == variant
    assert torch.equal(logits(loaded), logits(model.eval()))


@every
def test_a_disabled_adapter_is_the_base_exactly(adapted, llama, variant):
    model = adapted(variant).eval()
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(llama))
    assert not torch.equal(logits(model), logits(llama))


def test_adapters_of_different_variants_live_beside_each_other(adapted):
    model = adapted("rotation").eval()
    alone = {"default": logits(model)}
    for variant in ("boost", "tangent"):
        model.add_adapter(variant, HypLoraConfig(r=R, variant=variant, target_modules=["q_proj"]))
        randomise(model, variant)
        model.set_adapter(variant)
        alone[variant] = logits(model)
    for name, expected in alone.items():
        model.set_adapter(name)
        assert torch.equal(logits(model), expected)


@pytest.mark.parametrize("variant", NONLINEAR)
@pytest.mark.parametrize("merge", ["merge_adapter", "merge_and_unload"])
def test_what_is_not_linear_does_not_merge(adapted, variant, merge):
    model = adapted(variant).eval()
    expected = logits(model)
    with pytest.raises(NotImplementedError, match=r"not linear.*unload.*'tangent'"):
        getattr(model, merge)()
    assert torch.equal(logits(model), expected)


def test_tangent_merges_and_unmerges(adapted):
    model = adapted("tangent").eval()
    expected = logits(model)
    weight = layers(model)[0].base_layer.weight.clone()
    model.merge_adapter(safe_merge=True)
    assert not torch.equal(layers(model)[0].base_layer.weight, weight)
    assert torch.allclose(logits(model), expected, rtol=1e-4, atol=1e-5)
    model.unmerge_adapter()
    assert torch.allclose(layers(model)[0].base_layer.weight, weight, atol=1e-6)
    plain = model.merge_and_unload()
    assert not layers(plain)
    assert torch.allclose(logits(plain), expected, rtol=1e-4, atol=1e-5)


def test_a_merged_adapter_that_is_disabled_is_the_base_again(adapted, llama):
    model = adapted("tangent").eval()
    model.merge_adapter()
    with model.disable_adapter():
        assert torch.allclose(logits(model), logits(llama), atol=1e-5)


def test_a_merge_of_two_adapters_of_which_one_is_not_linear_changes_nothing(adapted):
    model = adapted("tangent").eval()
    model.add_adapter("bent", HypLoraConfig(r=R, target_modules=["down_proj"]))
    randomise(model, "bent")
    before = copy.deepcopy(model.state_dict())
    model.base_model.set_adapter(["default", "bent"])
    with pytest.raises(NotImplementedError):
        model.merge_adapter()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_merge_that_is_not_finite_is_refused_when_it_is_to_be_safe(adapted):
    model = adapted("tangent")
    layers(model)[0].hyplora_B["default"].weight.data.fill_(float("inf"))
    with pytest.raises(ValueError, match="not finite"):
        model.merge_adapter(safe_merge=True)


def test_tangent_has_no_curvature_to_learn():
    with pytest.raises(ValueError, match="variant 'tangent' has no curvature"):
        HypLoraConfig(variant="tangent", learnable_curvature=True)


def test_modules_to_save_are_trained_and_saved(adapted, llama, tmp_path):
    model = adapted("rotation", modules_to_save=["lm_head"])
    assert any("lm_head" in name for name in step(model))
    with torch.no_grad():
        model.base_model.model.lm_head.modules_to_save["default"].weight.add_(1.0)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(llama), tmp_path).eval()
    assert torch.equal(logits(loaded), logits(model.eval()))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"target_modules": r".*layers\.1\.mlp\.(up|down)_proj"}, 2),
        ({"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0]}, 2),
        ({"target_modules": "all-linear"}, 14),
        ({"target_modules": "all-linear", "exclude_modules": ["q_proj"]}, 12),
    ],
)
def test_targets_are_chosen_as_in_peft(adapted, options, count):
    assert len(layers(adapted("rotation", **options))) == count


@every
def test_activation_checkpointing_changes_no_gradient(adapted, variant):
    model = adapted(variant).train()
    expected = step(model)
    model.base_model.model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    found = step(model)
    assert all(torch.allclose(found[n], expected[n], rtol=1e-5, atol=1e-9) for n in expected)


@every
def test_autocast_gives_finite_float32_gradients(adapted, variant):
    model = adapted(variant)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        grads = step(model)
    assert all(g.dtype == torch.float32 and torch.isfinite(g).all() for g in grads.values())


@every
def test_torch_compile_takes_a_layer_whole(adapted, variant):
    """fullgraph refuses any break; the eager backend needs no compiler on the machine."""
    layer = layers(adapted(variant))[1]
    x = torch.randn(3, MLP, generator=torch.Generator().manual_seed(0))
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for mode in (True, False):
        layer.train(mode)
        expected, y = layer(x), compiled(x)
        assert torch.allclose(y, expected, rtol=1e-5, atol=1e-6)
    ours, theirs = (
        torch.autograd.grad(out.square().sum(), layer.hyplora_A["default"].weight)[0]
        for out in (y, expected)
    )
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.fixture
def process_group(tmp_path):
    os.environ.update(MASTER_ADDR="127.0.0.1")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@every
def test_distributed_data_parallel_gives_the_same_gradients(adapted, process_group, variant):
    model = adapted(variant).train()
    expected = step(model)
    parallel = nn.parallel.DistributedDataParallel(model)
    found = {n.removeprefix("module."): g for n, g in step(parallel).items()}
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[n], expected[n], rtol=1e-5, atol=1e-9) for n in expected)
