"""What all methods of ours support as peft tuners: HypLoRA's variants, bottleneck adapters."""

from __future__ import annotations

import copy
import importlib
import json
import os

import peft
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import bench.methods.bottleneck
import bench.methods.hyplora
from bench.methods import BottleneckConfig, HypLoraConfig
from bench.methods.bottleneck import BottleneckLinear
from bench.methods.hyplora import VARIANTS, HypLoraLinear

TARGETS = ["q_proj", "down_proj"]
PLACEMENTS = ("series", "parallel")
METHODS = (*VARIANTS, *PLACEMENTS)
every = pytest.mark.parametrize("method", METHODS)
one_of_each = pytest.mark.parametrize("method", ["rotation", "series"])


def every_with(name, usual, other, methods=METHODS):
    """All methods with one value, and one of each kind with another."""
    cases = [*((method, usual) for method in methods), ("rotation", other), ("series", other)]
    return pytest.mark.parametrize(("method", name), cases)


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes, **heads)).eval()


def configuration(method, **options):
    options = {"task_type": "CAUSAL_LM", "target_modules": TARGETS, **options}
    if method in PLACEMENTS:
        return BottleneckConfig(placement=method, **{"bottleneck_size": 4, **options})
    return HypLoraConfig(variant=method, **{"r": 4, "curvature": 0.7, **options})


@pytest.fixture
def adapted(llama):
    """Makes a copy of the model with an adapter that is far from its start; seeded."""

    def make(method, dtype=torch.float32, autocast_adapter_dtype=True, **options):
        torch.manual_seed(1)
        config = configuration(method, **options)
        model = peft.get_peft_model(
            copy.deepcopy(llama).to(dtype), config, autocast_adapter_dtype=autocast_adapter_dtype
        )
        randomise(model)
        return model

    return make


def randomise(model, adapter="default"):
    generator = torch.Generator().manual_seed(len(adapter))
    for name, parameter in model.named_parameters():
        if any(f"{part}.{adapter}" in name for part in ("hyplora_B", "bottleneck_up")):
            parameter.data.normal_(std=0.3, generator=generator)


def layers(model):
    return [m for m in model.modules() if isinstance(m, HypLoraLinear | BottleneckLinear)]


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


def trainable(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


# How an adapter starts and trains


@pytest.mark.parametrize(
    "method, options", [*((v, {}) for v in VARIANTS), ("series", {"init_weights": "mam_adapter"})]
)
def test_a_new_adapter_changes_nothing(llama, method, options):
    model = peft.get_peft_model(copy.deepcopy(llama), configuration(method, **options)).eval()
    assert torch.equal(logits(model), logits(llama))


@every
def test_training_moves_all_of_the_adapter_but_a_fixed_scalar_and_nothing_else(adapted, method):
    model = adapted(method).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(3):
        grads = step(model)
        assert all(torch.isfinite(g).all() and g.abs().max() > 0 for g in grads.values())
        optimiser.step()
        losses.append(model(input_ids=ids(), labels=ids()).loss.item())
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    fixed = {"authors": "no", "authors_simplified": "hyplora_s"}.get(method, "hyplora_K")
    prefix = "bottleneck_" if method in PLACEMENTS else "hyplora_"
    assert moved == {name for name in before if prefix in name and fixed not in name}
    assert losses[-1] < losses[0]


@every_with("autocast_adapter_dtype", True, False)
def test_a_bfloat16_base_trains_adapters_of_either_dtype(adapted, method, autocast_adapter_dtype):
    model = adapted(method, torch.bfloat16, autocast_adapter_dtype)
    grads = step(model)
    dtype = torch.float32 if autocast_adapter_dtype else torch.bfloat16
    assert logits(model).dtype == torch.bfloat16
    assert all(torch.isfinite(g).all() and g.any() for g in grads.values())
    assert {g.dtype for name, g in grads.items() if name.endswith("weight")} == {dtype}


@every
def test_autocast_gives_finite_float32_gradients(adapted, method):
    model = adapted(method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = torch.randn(3, layers(model)[0].in_features)
        assert layers(model)[0](x).dtype == torch.bfloat16
        grads = step(model)
    assert all(g.dtype == torch.float32 and torch.isfinite(g).all() for g in grads.values())


@one_of_each
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing_changes_no_gradient(adapted, method, use_reentrant):
    model = adapted(method).train()
    expected = step(model)
    model.base_model.model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    model.enable_input_require_grads()
    assert model.base_model.model.is_gradient_checkpointing
    found = step(model)
    assert all(torch.allclose(found[n], expected[n], rtol=1e-5, atol=1e-9) for n in expected)


@pytest.fixture
def process_group(tmp_path):
    os.environ.update(MASTER_ADDR="127.0.0.1")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@one_of_each
def test_distributed_data_parallel_gives_the_same_gradients(adapted, process_group, method):
    model = adapted(method).train()
    expected = step(model)
    parallel = nn.parallel.DistributedDataParallel(model)
    found = {n.removeprefix("module."): g for n, g in step(parallel).items()}
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[n], expected[n], rtol=1e-5, atol=1e-9) for n in expected)


@pytest.mark.parametrize("method", ["rotation", "authors"])  # test_compiled has all, slowly
def test_torch_compile_takes_a_layer_whole(adapted, method):
    """fullgraph refuses any break; the eager backends need no compiler on the machine."""
    layer = layers(adapted(method))[1]
    x = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(0))
    torch._dynamo.reset()
    # the rotation's gate has its own backward pass, which is traced as well
    backend, modes = ("aot_eager", (True, False)) if method == "rotation" else ("eager", (True,))
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    for mode in modes:
        layer.train(mode)
        gradients = []
        for y in (layer(x), compiled(x)):
            gradients.append(
                (y, *torch.autograd.grad(y.square().sum(), layer.hyplora_A.parameters()))
            )
        for expected, found in zip(*gradients, strict=True):
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


@one_of_each
def test_generation_works_with_and_without_the_key_value_cache(adapted, method):
    model, prompt = adapted(method).eval(), torch.arange(2, 10).reshape(2, 4)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    cached, plain = (
        model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), use_cache=use, **options
        )
        for use in (True, False)
    )
    assert cached.shape == (2, 10)
    assert torch.equal(cached, plain)


# Saving, several adapters, merging


@every_with("dtype", torch.float32, torch.bfloat16)
def test_a_saved_adapter_comes_back_bit_equal(adapted, llama, tmp_path, method, dtype):
    model = adapted(method, dtype, **({"adapter_bias": True} if method in PLACEMENTS else {}))
    for name, parameter in model.named_parameters():
        if "hyplora_K" in name or "hyplora_s" in name:
            parameter.data.add_(0.123)
    model.save_pretrained(tmp_path)
    base = copy.deepcopy(llama).to(dtype)
    low = dtype == torch.bfloat16
    loaded = peft.PeftModel.from_pretrained(base, tmp_path, low_cpu_mem_usage=low)
    state, expected = (peft.get_peft_model_state_dict(m) for m in (loaded, model))
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert torch.equal(logits(loaded.eval()), logits(model.eval()))
    assert not trainable(loaded)
    again = peft.PeftModel.from_pretrained(copy.deepcopy(llama), tmp_path, is_trainable=True)
    again.set_adapter("default")
    assert trainable(again) == trainable(model)


@pytest.mark.parametrize(
    "method, options",
    [
        ("boost", {"curvature": 0.5, "norm_scale": 2.0, "max_radius": 9}),
        ("parallel", {"non_linearity": "gelu", "output_modules": ("down_proj",)}),
    ],
)
def test_the_configuration_survives_saving(tmp_path, method, options):
    config = configuration(method, **options)
    config.save_pretrained(tmp_path)
    assert config.target_modules == set(TARGETS)
    assert peft.PeftConfig.from_pretrained(tmp_path) == config
    name = json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"]
    assert name == ("BOTTLENECK" if method in PLACEMENTS else "HYPLORA")
    importlib.reload(getattr(bench.methods, name.lower()))  # registers again
    assert peft.PeftConfig.from_pretrained(tmp_path) == config


@pytest.mark.parametrize("first, second", [("rotation", "boost"), ("series", "parallel")])
def test_adapters_are_independent_and_only_the_active_one_trains(adapted, llama, first, second):
    model = adapted(first).eval()
    expected, start = logits(model), trainable(model)
    config = configuration(second, target_modules=["q_proj"])
    model.add_adapter("second", config)
    assert torch.equal(logits(model), expected)
    model.set_adapter("second")
    randomise(model, "second")
    names = trainable(model)
    assert names and all(".second" in name and "hyplora_K" not in name for name in names)
    alone = peft.get_peft_model(copy.deepcopy(llama), config, "second").eval()
    own = {name: value for name, value in model.state_dict().items() if ".second" in name}
    alone.load_state_dict(own, strict=False)
    assert torch.equal(logits(model), logits(alone))
    assert not torch.equal(logits(model), expected)
    model.set_adapter("default")
    assert torch.equal(logits(model), expected) and trainable(model) == start
    model.delete_adapter("second")
    assert torch.equal(logits(model), expected)
    assert not any("second" in key for key in model.state_dict())


@every
def test_a_disabled_adapter_is_the_base_exactly(adapted, llama, method):
    model = adapted(method).eval()
    before = trainable(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(llama))
    assert not torch.equal(logits(model), logits(llama))
    assert trainable(model) == before


@every_with("merge", "merge_adapter", "merge_and_unload", sorted({*METHODS} - {"tangent"}))
def test_merging_is_refused_and_nothing_is_changed(adapted, method, merge):
    model = adapted(method).eval()
    expected = logits(model)
    with pytest.raises(NotImplementedError, match=r"not linear.*unload"):
        getattr(model, merge)()
    assert torch.equal(logits(model), expected)


def test_modules_to_save_are_trained_and_loaded_by_the_auto_class(adapted, llama, tmp_path):
    model = adapted("rotation", modules_to_save=["lm_head"]).eval()
    assert any("lm_head" in name for name in step(model))
    model.base_model.model.lm_head.modules_to_save["default"].weight.data.add_(1.0)
    llama.save_pretrained(tmp_path / "base")
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    assert torch.equal(logits(loaded), logits(model))


# Targets


@one_of_each
@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"target_modules": r".*layers\.1\.mlp\.(up|down)_proj"}, 2),
        ({"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0]}, 2),
        ({"target_modules": "all-linear"}, 14),
        ({"target_modules": "all-linear", "exclude_modules": ["q_proj"]}, 12),
    ],
)
def test_targets_are_chosen_as_in_peft(adapted, method, options, count):
    assert len(layers(adapted(method, **options))) == count


def test_default_targets_are_those_of_lora_or_have_to_be_named(llama):
    def targets(config):
        model = peft.get_peft_model(copy.deepcopy(llama), config)
        return model.base_model.targeted_module_names

    assert targets(HypLoraConfig(r=4)) == targets(peft.LoraConfig(r=4))
    with pytest.raises(ValueError, match="target_modules"):
        targets(BottleneckConfig())


@one_of_each
def test_a_target_that_is_not_linear_is_refused_with_its_name(adapted, method):
    with pytest.raises(ValueError, match=r"layers\.0\.input_layernorm', which is a LlamaRMSNorm"):
        adapted(method, target_modules=["input_layernorm"])
