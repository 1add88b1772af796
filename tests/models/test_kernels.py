"""Liger's kernels in a base; its results are compared on a GPU."""

import importlib.util

import pytest
import torch
from transformers.models.llama import modeling_llama

from bench.errors import InputError
from bench.methods import attach
from bench.models.kernels import ROPE, check_kernels, use_liger
from bench.models.loading import load_base
from bench.models.shared import with_shared_weights
from tests.helpers import model_at

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("installed", "architecture", "device", "message"),
    [
        (True, "helm_d", GPU, r"unknown architecture 'helm_d'.*llama.*give model\.kernels=null"),
        (True, "llama", CPU, r"model\.kernels=liger: its kernels need a CUDA GPU"),
        (False, "llama", GPU, r"liger-kernel is not installed.*pip install .*-e '\.\[liger\]'"),
    ],
)
def test_what_the_kernels_lack_is_said_in_one_message(
    monkeypatch, installed, architecture, device, message
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed or None)
    with pytest.raises(InputError, match=message):
        check_kernels("liger", architecture, device)
    check_kernels(None, architecture, device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_base_is_not_loaded_without_a_gpu(local_base):
    with pytest.raises(InputError, match=r"model\.kernels=liger: .*give model\.kernels=null"):
        load_base(model_at(local_base, kernels="liger"), CPU)


def test_the_kernels_are_those_of_one_model_and_its_copies(fresh_tiny):
    """Of runs in one process, some may have them and others not."""
    pytest.importorskip("liger_kernel")
    base, before = fresh_tiny[0], dict(vars(modeling_llama))
    plain = with_shared_weights(base)
    use_liger(base)
    assert dict(vars(modeling_llama)) == before
    copy = with_shared_weights(base)
    for model, changed in ((plain, False), (base, True), (copy, True)):
        layer = model.model.layers[0]
        for part in (model.model.norm, layer.mlp, layer.input_layernorm):
            assert ("forward" in vars(part)) is changed and part.forward.__self__ is part
        assert bool(layer.self_attn._forward_pre_hooks) is changed
        assert "forward" not in vars(model)  # the loss is ours


@pytest.mark.gpu
@pytest.mark.parametrize("checkpointed", [False, True])
def test_logits_and_gradients_are_those_of_pytorch(fresh_tiny, checkpointed):
    pytest.importorskip("liger_kernel")
    base, ids = fresh_tiny[0].to(GPU), torch.randint(3, 200, (2, 9), device=GPU)
    fused, own = with_shared_weights(base), getattr(modeling_llama, ROPE)
    use_liger(fused)
    found = []
    for model in (base, fused):
        torch.manual_seed(0)
        adapted = attach(model, "lora", {"r": 4, "target_modules": ["q_proj", "down_proj"]})
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        logits = adapted.train()(input_ids=ids, use_cache=False).logits
        logits.square().mean().backward()
        trained = [p.grad for p in adapted.parameters() if p.grad is not None]
        found.append((logits, *trained))
        assert getattr(modeling_llama, ROPE) is own
    for expected, value in zip(*found, strict=True):
        assert torch.allclose(value, expected, rtol=1e-3, atol=1e-4)
