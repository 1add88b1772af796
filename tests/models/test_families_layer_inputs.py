"""What the layers of each family of bases are given, by the names that the family has for them."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.embeddings.layers import layer_inputs
from bench.methods import attach
from bench.methods.hyplora.layer import hyplora_layers
from bench.models.loading import load_base
from bench.models.settings import ModelSettings

LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NEOX = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
PROMPTS = [[1, 5, 6, 7, 8], [1, 9, 10, 11]]


@pytest.fixture
def loaded(family_base):
    def load(family):
        folder = str(family_base(family))
        settings = ModelSettings("local", folder, None, "float32", None, False)
        return load_base(settings, torch.device("cpu"))[0]

    return load


@pytest.mark.parametrize(
    ("family", "modules"),
    [(family, LLAMA) for family in ("llama", "gemma", "gemma3", "qwen2", "helm_d")]
    + [("gpt_neox", NEOX)],
)
def test_every_family_has_its_layers_measured(loaded, family, modules):
    found = layer_inputs(loaded(family), PROMPTS)
    assert sorted((one.block, one.module) for one in found) == sorted(
        (block, module) for block in range(2) for module in modules
    )
    for one in found:
        assert one.tokens == 9 and one.rms_mean > 0 and 0 <= one.delta <= 1


def test_of_a_checkpoint_with_pictures_loaded_whole_only_what_text_reaches_is_measured(family_base):
    whole = AutoModelForCausalLM.from_pretrained(family_base("gemma3"))
    found = layer_inputs(whole, PROMPTS)
    assert len(found) == 14 and not [one for one in found if "vision" in one.layer]
    options = {"r": 4, "target_modules": ["q_proj"], "curvature": "auto"}
    layers = hyplora_layers(attach(whole, "hyplora", options, PROMPTS))
    measured = {one.layer: one.data_curvature for one in found if one.module == "q_proj"}
    assert len(layers) == 3 and len(measured) == 2
    for name, layer in layers.items():
        # the tower's layer, which no text reaches, keeps the default
        expected = measured.get(name, 1.0)
        assert layer.curvature("default").item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", ["gemma3", "gpt_neox"])
def test_auto_goes_by_the_names_of_the_family(loaded, family):
    base = loaded(family)
    measured = {one.layer: one.data_curvature for one in layer_inputs(base, PROMPTS)}
    options = {"r": 4, "target_modules": ["q_proj", "k_proj", "down_proj"], "curvature": "auto"}
    layers = hyplora_layers(attach(base, "hyplora", options, PROMPTS))
    assert len(layers) == (4 if family == "gpt_neox" else 6)
    for name, layer in layers.items():
        assert layer.curvature("default").item() == pytest.approx(measured[name], rel=1e-5)
