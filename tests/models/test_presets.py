import re

import pytest
import yaml

from bench.config import PROJECT
from bench.models.settings import PROMPT_STYLES, check_folder

FILES = {p.stem: yaml.safe_load(p.read_text()) for p in (PROJECT / "conf/model").glob("*.yaml")}
OTHER = {"tiny", "local", "hub", "smollm2-135m"}
PRESETS = sorted(n for n, file in FILES.items() if n not in OTHER and "kind" not in file)
PAPERS = {"LLaMA-7B", "LLaMA-13B", "Gemma-7B", "LLaMA3-8B", "Gemma3-4B", "Qwen2.5-7B"}


def test_every_base_of_the_paper_and_of_its_scripts_has_a_preset():
    assert {FILES[name]["published"] for name in PRESETS} == PAPERS
    published = yaml.safe_load((PROJECT / "results/published/table2.yaml").read_text())
    assert {row["base"] for row in published["rows"]} >= PAPERS
    assert {FILES[name]["path"] for name in PRESETS} >= {
        "Qwen/Qwen2.5-7B-Instruct-1M",
        "meta-llama/Meta-Llama-3-8B-Instruct",
        "google/gemma-3-4b-it",
        "google/gemma-7b",
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_pinned_hub_model_with_the_papers_learning_rates(compose, name):
    experiment = compose(f"model={name}")
    model = experiment.model
    assert model.name == name and model.folder is None and not model.trust_remote_code
    assert model.prompt_style in PROMPT_STYLES and model.context >= 2048
    assert re.fullmatch("[0-9a-f]{40}", model.revision)
    check_folder(model)
    assert experiment.train.lr == 3e-4
    assert compose(f"model={name}", "method=prefix").train.lr == 3e-2


def test_paths_and_names(compose, local_base):
    own = compose("model=llama-7b", "model.revision=abc", f"model.path={local_base}").model
    assert (own.revision, own.folder, own.name) == ("abc", local_base, "llama-7b")
    local = compose("model=local", f"model.path={local_base}").model
    assert (local.name, local.prompt_style, local.context) == (local_base.name, None, None)
    assert compose("model=hub", "model.path=a/b").model.name == "a/b"
