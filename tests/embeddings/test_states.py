"""Norms of the last block's output by type."""

import math

import numpy as np
import pytest
import torch

from bench.embeddings.frequency import count_tokens
from bench.embeddings.norms import word_groups
from bench.embeddings.states import state_norms
from bench.models.untrained import UntrainedSettings, build

PROMPTS = [[1, 300, 301, 300], [1, 302, 303]]


def helm(tokenizer, kind):
    settings = UntrainedSettings(kind, kind, "tiny", "embedded", {"num_hidden_layers": 2})
    return build(settings.config(tokenizer), seed=0).eval()


@pytest.mark.parametrize("kind", ["llama", "helm_d", "helm_mice"])
def test_a_type_has_the_mean_norm_over_its_places_in_front_of_the_last_norm(tiny, kind):
    model = tiny[0] if kind == "llama" else helm(tiny[1], kind)
    found = state_norms(model, PROMPTS, len(tiny[1]))
    inner = model.get_decoder()
    seen = []
    read = inner.norm if kind == "llama" else inner.final_proj
    handle = read.register_forward_pre_hook(lambda module, given: seen.append(given[0][0]))
    with torch.no_grad():
        for ids in PROMPTS:
            model(input_ids=torch.tensor([ids]))
    handle.remove()
    norms = [state.norm(dim=-1) for state in seen]
    assert found.values[300] == pytest.approx(float(norms[0][[1, 3]].mean()), rel=1e-5)
    assert found.values[303] == pytest.approx(float(norms[1][2]), rel=1e-5)


def test_a_type_that_stands_in_no_prompt_or_in_front_alone_has_none(tiny):
    found = state_norms(tiny[0], PROMPTS, len(tiny[1])).values
    assert np.isfinite(found).nonzero()[0].tolist() == [300, 301, 302, 303]


def test_a_word_of_the_texts_that_no_prompt_has_is_named(tiny):
    tokenizer = tiny[1]
    counts = count_tokens(tokenizer, ["Tom gives many to Mary."], len(tokenizer))
    norms = state_norms(tiny[0], tokenizer(["Tom gives many."])["input_ids"], len(tokenizer))
    found = {group["group"]: group for group in word_groups(tokenizer, counts, norms.values)}
    assert {"word": "to", "why": "not in the prompts"} in found["G1"]["missing"]
    (many,) = found["G2"]["words"]
    assert many["word"] == "many" and math.isfinite(many["norm"])
