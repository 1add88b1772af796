import copy

import pytest
import torch

from bench.methods import attach
from bench.models import shared
from bench.models.shared import shared_base, with_shared_weights
from tests.helpers import model_at

CPU = torch.device("cpu")
OLORA = {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": "olora"}


@pytest.fixture(autouse=True)
def nothing_kept():
    shared._kept.clear()
    yield
    shared._kept.clear()


def storages(model):
    return [p.data_ptr() for p in model.parameters()]


def test_a_base_is_loaded_once_whatever_its_name_and_checks(local_base):
    one, tokenizer = shared_base(model_at(local_base), "hash", CPU)
    same = model_at(local_base, name="other", check_memory=False, prompt_style="gemma")
    other, again = shared_base(same, "hash", CPU)
    assert storages(one) == storages(other) and tokenizer is again


def test_another_base_replaces_the_cached_one(local_base):
    one, half = model_at(local_base), model_at(local_base, "bfloat16")
    asked = ((one, "a"), (model_at("embedded"), "a"), (one, "a"), (half, "a"), (half, "b"))
    bases = [shared_base(*each, CPU)[0] for each in asked]
    assert len({storages(base)[0] for base in bases}) == 5 and len(shared._kept) == 1


def test_changes_by_a_run_do_not_affect_the_next(local_base):
    one, _ = shared_base(model_at(local_base), "hash", CPU)
    untouched = {name: value.clone() for name, value in one.state_dict().items()}
    shape = repr(one)
    one.generation_config.max_new_tokens = 7
    one.config.use_cache = False
    one.register_forward_hook(lambda *_: None)
    model = attach(one, "hyplora", {"r": 4, "target_modules": ["q_proj"]})
    model.train().bfloat16()
    next(iter(one.buffers())).zero_()

    other, _ = shared_base(model_at(local_base), "hash", CPU)
    assert repr(other) == shape and not other.training and not other._forward_hooks
    assert other.config.use_cache and other.generation_config.max_new_tokens is None
    assert all(p.requires_grad and p.grad is None for p in other.parameters())
    assert all(torch.equal(value, untouched[n]) for n, value in other.state_dict().items())
    assert all(buffer.any() for buffer in other.buffers())


def test_weights_that_a_run_has_changed_in_place_are_loaded_again(local_base):
    one, _ = shared_base(model_at(local_base), "hash", CPU)
    untouched, name = copy.deepcopy(one.state_dict()), "model.layers.0.self_attn.q_proj.weight"
    attach(one, "lora", OLORA)
    assert not torch.equal(shared._kept[0].model.state_dict()[name], untouched[name])
    other, _ = shared_base(model_at(local_base), "hash", CPU)
    assert all(torch.equal(value, untouched[n]) for n, value in other.state_dict().items())


def test_tied_weights_stay_tied(tiny):
    copied = with_shared_weights(tiny[0])
    assert copied.get_input_embeddings().weight is copied.get_output_embeddings().weight
    assert storages(copied) == storages(tiny[0])
    assert not {id(p) for p in copied.parameters()} & {id(p) for p in tiny[0].parameters()}
