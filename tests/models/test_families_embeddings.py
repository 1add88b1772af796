"""Studies of embeddings and of layer inputs on each family of bases."""

import json
import math

import pytest
from transformers import AutoModelForCausalLM

from bench.data.problems import Problem
from bench.embeddings.layers import layer_inputs
from bench.embeddings.study import Sources, StudySettings, study
from bench.methods import attach
from bench.methods.hyplora.layer import hyplora_layers
from bench.models.helm import HelmForCausalLM
from bench.models.helm.sizes import model_config

LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MODULES = {
    "gemma3": LLAMA,
    "helm_d": LLAMA,
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
}
TIED = ("gemma", "gemma3")
TEXTS = ("Mary has 3 apples and 2 pears.", "Tom has 4 more apples than Mary has. How many?")
PROMPTS = [[1, 5, 6, 7, 8], [1, 9, 10, 11]]


def studied(base, tokenizer):
    rows = {"mawps": [Problem("mawps", text, "", "", "1") for text in TEXTS]}
    sizes = StudySettings(points=10, samples=1, replicas=100, power_replicas=0, words=5)
    return study(base, tokenizer, Sources("toys", rows, rows, None), [], sizes)


@pytest.mark.parametrize("name", ["llama", "gemma", "gemma3", "gpt_neox", "helm_mice"])
def test_embeddings_of_each_family_are_studied(family, name):
    report = studied(*family(name))
    model, tied = report["model"], name in TIED
    assert model["input_scale"] == pytest.approx(math.sqrt(32) if tied else 1.0, rel=0.01)
    assert model["tied"] == tied and model["dimension"] == 32
    roles = {row["role"] for row in report["norms"]["correlations"]}
    assert roles == {"input", "states"} | (set() if tied else {"output"})
    assert (report["tokens"][0]["output_norm"] is None) == tied
    assert report["layers"][0]["layers"]
    json.dumps(report, allow_nan=False)


def test_a_table_of_points_is_studied_by_its_space_coordinates(tiny):
    base = HelmForCausalLM(model_config("helm_d", "tiny", len(tiny[1]), embedding="lorentz")).eval()
    model = studied(base, tiny[1])["model"]
    assert model["dimension"] == 128 and model["input_scale"] == pytest.approx(1.0)


@pytest.mark.parametrize("name", MODULES)
def test_inputs_of_each_familys_layers_are_measured(family, name):
    found = layer_inputs(family(name)[0], PROMPTS)
    assert sorted((one["block"], one["module"]) for one in found) == sorted(
        (block, module) for block in range(2) for module in MODULES[name]
    )
    for one in found:
        assert one["tokens"] == 9 and one["rms_mean"] > 0 and 0 <= one["delta"] <= 1


@pytest.mark.parametrize(
    ("name", "count"), [("gemma3", 6), ("gpt_neox", 4), ("gemma3 with its vision tower", 6)]
)
def test_auto_curvatures_are_those_of_the_measured_layers(family, family_base, name, count):
    if "vision" in name:  # its q_proj, k_proj and v_proj are adapted, too
        base = AutoModelForCausalLM.from_pretrained(family_base("gemma3"))
    else:
        base, _ = family(name)
    inputs = layer_inputs(base, PROMPTS)
    assert not [one for one in inputs if "vision" in one["layer"]]
    measured = {one["layer"]: one["data_curvature"] for one in inputs}
    modules = ["q_proj", "k_proj"] if "vision" in name else ["q_proj", "k_proj", "down_proj"]
    options = {"r": 4, "target_modules": modules, "curvature": "auto"}
    layers = hyplora_layers(attach(base, "hyplora", options, PROMPTS))
    assert len(layers) == count
    for layer_name, layer in layers.items():
        # No text reaches the tower's layers, which keep the default.
        expected = measured.get(layer_name, 1.0)
        assert layer.curvature("default").item() == pytest.approx(expected, rel=1e-5)
