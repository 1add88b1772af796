"""The embedding study on the architectures that conf/model/ names."""

import json
import math

import pytest
import torch

from bench.data.problems import Problem
from bench.embeddings.settings import Sources, StudySettings
from bench.embeddings.study import study
from bench.models.loading import load_base
from bench.models.settings import ModelSettings

SCALES = {"gemma": math.sqrt(32), "gemma3_text": math.sqrt(32), "gemma3": math.sqrt(32)}
TIED = ("gemma", "gemma3_text", "gemma3")
TEXTS = ("Mary has 3 apples and 2 pears.", "Tom has 4 more apples than Mary has. How many?")


@pytest.mark.parametrize(
    "family",
    ["llama", "gemma", "gemma3_text", "gemma3", "qwen2", "gpt_neox", "helm_d", "helm_mice"],
)
def test_every_family_is_studied_in_its_own_terms(family_base, family):
    settings = ModelSettings(family, str(family_base(family)), None, "float32", None, False)
    base, tokenizer = load_base(settings, torch.device("cpu"))
    rows = {"mawps": [Problem("mawps", text, "", "", "1") for text in TEXTS]}
    sizes = StudySettings(points=10, samples=1, replicas=100, power_replicas=0, words=5)
    report = study(base, tokenizer, Sources("toys", rows, rows, None), [], sizes)
    model = report["model"]
    assert model["input_scale"] == pytest.approx(SCALES.get(family, 1.0), rel=0.01)
    assert model["tied"] == (family in TIED) and model["dimension"] == 32
    roles = {row["role"] for row in report["norms"]["correlations"]}
    assert roles == {"input", "states"} | (set() if family in TIED else {"output"})
    assert (report["tokens"][0]["output_norm"] is None) == (family in TIED)
    assert report["layers"][0]["layers"]
    json.dumps(report, allow_nan=False)


def test_a_table_of_points_is_studied_by_its_space_coordinates(tiny):
    from bench.models.helm import HelmForCausalLM
    from bench.models.helm.sizes import model_config

    base = HelmForCausalLM(model_config("helm_d", "tiny", len(tiny[1]), embedding="lorentz")).eval()
    rows = {"mawps": [Problem("mawps", text, "", "", "1") for text in TEXTS]}
    sizes = StudySettings(points=10, samples=1, replicas=100, power_replicas=0, words=5)
    model = study(base, tiny[1], Sources("toys", rows, rows, None), [], sizes)["model"]
    assert model["dimension"] == 128 and model["input_scale"] == pytest.approx(1.0)
