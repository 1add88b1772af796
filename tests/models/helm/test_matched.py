"""Twins that start from their HELM's distributions of weights."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from bench.models.helm.sizes import OF_TWIN, model_config
from bench.models.untrained import build


def weights(kind, seed=0):
    return build(model_config(kind, "tiny", 1536), seed).state_dict()


@pytest.mark.parametrize("twin", OF_TWIN)
def test_each_weight_has_the_distribution_of_its_helms_and_norms_its_epsilon(twin):
    kinds = OF_TWIN[twin], twin, f"{twin}_matched"
    ours, plain, matched = map(weights, kinds)
    assert model_config(kinds[2], "tiny", 1536).rms_norm_eps == 1e-8
    shared = [name for name in matched if name in ours and "norm" not in name]
    assert {"model.embed_tokens.weight", "lm_head.weight"} < set(shared)
    assert [name for name in matched if name.endswith("bias") and name not in ours] == []
    for name in shared:
        expected, found = ours[name], matched[name]
        assert found.mean() == pytest.approx(0, abs=0.2 * float(expected.std()) + 1e-9), name
        if "embed" in name:
            assert found.std() == pytest.approx(float(expected.std()), rel=0.01)
        else:  # uniform; the times of HELM's heads are columns of zeros
            assert found.abs().max() == pytest.approx(float(expected.abs().max()), rel=0.06), name
    changed = [n for n in plain if "norm" not in n and plain[n].ndim > 1]
    assert all(matched[n].std() > 1.2 * plain[n].std() for n in changed)


def test_a_seed_fixes_the_weights_and_a_tied_head_stays_the_embedding():
    one, again, other = (weights("llama_twin_matched", seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])
    config = model_config("llama_twin_matched", "tiny", 1536, tie_word_embeddings=True)
    model = build(config, 0)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    std = float(model.lm_head.weight.detach().std())
    assert std == pytest.approx(config.initializer_range, rel=0.01)


def test_it_is_saved_and_loaded_as_an_ordinary_llama(tmp_path):
    model = build(model_config("llama_twin_matched", "tiny", 1536, num_hidden_layers=1), 0)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is LlamaForCausalLM
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name]), name
