import re
from pathlib import Path

import pytest
import yaml

from bench.errors import InputError
from bench.models.settings import PROMPT_STYLES, check_folder

PROJECT = Path(__file__).resolve().parents[2]
FILES = {path.stem: path.read_text() for path in sorted((PROJECT / "conf/model").glob("*.yaml"))}
PRESETS = [  # those with a `kind` are still to be pretrained
    name
    for name, text in FILES.items()
    if name not in ("tiny", "local", "hub") and "kind" not in yaml.safe_load(text)
]
PAPERS = {"LLaMA-7B", "LLaMA-13B", "Gemma-7B", "LLaMA3-8B", "Gemma3-4B", "Qwen2.5-7B"}


def preset(compose, name, *more):
    return compose(f"model={name}", *more)


def test_every_base_of_the_paper_has_a_preset(compose):
    assert {preset(compose, name).model.published for name in PRESETS} == PAPERS
    published = yaml.safe_load((PROJECT / "results/published/table2.yaml").read_text())
    assert {row["base"] for row in published["rows"]} >= PAPERS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_hub_model_under_its_own_name(compose, name):
    experiment = preset(compose, name)
    model = experiment.model
    assert model.name == name and model.folder is None and not model.trust_remote_code
    assert model.prompt_style in PROMPT_STYLES and model.context >= 2048
    assert re.fullmatch("[0-9a-f]{40}", model.revision)
    check_folder(model)
    assert experiment.train.lr == 3e-4
    assert preset(compose, name, "method=prefix").train.lr == 3e-2


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("qwen2.5-7b-instruct-1m", "Qwen/Qwen2.5-7B-Instruct-1M"),
        ("llama3-8b-instruct", "meta-llama/Meta-Llama-3-8B-Instruct"),
        ("gemma3-4b-it", "google/gemma-3-4b-it"),
        ("gemma-7b", "google/gemma-7b"),
    ],
)
def test_the_bases_of_the_released_scripts_are_there(compose, name, path):
    assert preset(compose, name).model.path == path


def test_a_preset_takes_a_revision_and_a_folder_of_ones_own(compose, local_base):
    model = preset(compose, "llama-7b", "model.revision=abc", f"model.path={local_base}").model
    assert (model.revision, model.folder, model.name) == ("abc", local_base, "llama-7b")


def test_a_folder_and_a_hub_id_are_their_own_names(compose, local_base):
    local = preset(compose, "local", f"model.path={local_base}").model
    assert (local.name, local.prompt_style, local.context) == (local_base.name, None, None)
    assert preset(compose, "hub", "model.path=a/b").model.name == "a/b"


@pytest.mark.parametrize(
    ("override", "message"),
    [("model.prompt_style=llama", "Did you mean llama3"), ("model.context=0", "at least 1 token")],
)
def test_a_style_or_a_context_out_of_range_is_refused(compose, override, message):
    with pytest.raises(InputError, match=message):
        compose(override)
