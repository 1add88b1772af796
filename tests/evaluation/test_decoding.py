"""Ended rows make room: texts are those of prompts decoded alone, whatever the batch."""

import threading

import pytest
import torch
from transformers import LlamaForCausalLM

from bench.errors import Failure
from bench.evaluation import decoding
from bench.evaluation.generation import generate
from tests.evaluation.adapted import OPTIONS, adapted

PROMPTS = {i: torch.arange(3, 5 + 7 * i % 40 + i).tolist() for i in range(12)}


@pytest.fixture
def model_of(local_base, tiny):
    """An adapted random model that stops at several tokens, so that answers have many lengths."""

    def made(method):
        base = LlamaForCausalLM.from_pretrained(local_base)
        model = adapted(base, method, 0.3)
        base.generation_config.eos_token_id = [tiny[1].eos_token_id]
        written = decoded(model, tiny[1], 12)
        # A token of the middle of some answers ends them.
        stops = {ids[place] for ids, place in zip(written.values(), range(2, 8), strict=False)}
        base.generation_config.eos_token_id = [tiny[1].eos_token_id, *stops]
        return model

    return made


@pytest.fixture(autouse=True)
def ids_as_text(tiny, monkeypatch):
    monkeypatch.setattr(type(tiny[1]), "decode", lambda self, ids, **_: tuple(ids))


def decoded(model, tokenizer, size, batching="static"):
    batches = generate(model, tokenizer, PROMPTS, 16, size, batching=batching)
    found = [(g.index, g.text) for batch in batches for g in batch]
    assert len(found) == len(PROMPTS)
    return dict(found)


@pytest.mark.parametrize("method", OPTIONS)
def test_a_batch_is_packed_again_once_half_of_its_rows_have_ended(model_of, tiny, method):
    model, sizes = model_of(method), []
    alone = decoded(model, tiny[1], 1)
    lengths = sorted(map(len, alone.values()))
    assert lengths[0] < 8 and lengths[-1] == 16 and len(set(lengths)) > 3
    base = model.get_base_model()
    base.model.register_forward_hook(lambda _, given, made: sizes.append(len(made[0])))
    assert decoded(model, tiny[1], 12) == alone
    half = lengths[5]  # the answers that are left when half have ended
    assert sizes[:half] == [12] * half and sizes[half] <= 6
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == lengths[-1]
    assert decoded(model, tiny[1], 5) == alone


def test_a_cache_that_can_not_be_packed_is_left_as_it_is(model_of, tiny, monkeypatch):
    model = model_of("lora")
    expected = decoded(model, tiny[1], 12)
    monkeypatch.setattr(decoding, "_can_select", lambda cache: False)
    assert decoded(model, tiny[1], 12) == expected


@pytest.mark.parametrize(("method", "size"), [("lora", 3), ("hyplora", 3), ("hyplora", 12)])
def test_continuous_batches_write_the_same(model_of, tiny, method, size):
    model = model_of(method)
    assert decoding.why_not_continuous(model) == ""
    assert decoded(model, tiny[1], size, "continuous") == decoded(model, tiny[1], 12)


def test_what_has_no_paged_cache_is_decoded_in_static_batches(model_of, tiny, caplog):
    prefix = model_of("prefix")
    expected = decoded(prefix, tiny[1], 4)
    assert decoded(prefix, tiny[1], 4, "continuous") == expected
    assert "the model does not support continuous ones: its virtual" in caplog.text
    lora = model_of("lora")
    lora.get_base_model().config.layer_types = ["linear_attention"] * 2
    assert decoding.why_not_continuous(lora) == "it has layers without a paged cache"
    assert "does not support" in decoding.why_not_continuous(torch.nn.Linear(1, 1))


def test_a_failure_in_continuous_batching_is_a_failure(model_of, tiny, monkeypatch):
    model = model_of("lora")

    def fail(*_):
        raise ValueError("odd")

    model.get_base_model().model.layers[0].register_forward_hook(fail)
    with pytest.raises(Failure, match=r"failed: .*odd.* Give evaluation\.batching=static"):
        decoded(model, tiny[1], 4, "continuous")


def test_a_generator_that_is_closed_ends_its_thread(model_of, tiny):
    model, before = model_of("lora"), threading.active_count()
    batches = generate(model, tiny[1], PROMPTS, 16, 2, batching="continuous")
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before
