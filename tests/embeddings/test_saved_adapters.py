"""Which runs stand for the methods in a study, and where their adapters come from."""

import shutil

import pytest
import torch

from bench.errors import InputError
from bench.experiment import open_store
from bench.files import write_json
from bench.methods import attach
from bench.models.loading import load_base
from bench.models.settings import ModelSettings
from bench.recorded import one_of_each, tuned_models
from bench.training.adapters import save_adapter

HASHES = {"base": "b", "tests": "t", "train": "r"}


def record(method="lora", curvature=None, seed=0, trainable=100, **changes):
    made = {
        "method": method,
        "curvature": curvature,
        "seed": seed,
        "parameters": {"trainable": trainable},
        "hashes": HASHES,
        "identity": f"{method}{curvature}{seed}",
    }
    return made | changes


def test_each_method_and_curvature_has_one_run():
    given = [record(), record("hyplora", 0.1), record("hyplora", 1.0), record("hyplora", "auto")]
    assert one_of_each(given, HASHES) == given


def test_all_layers_stand_before_a_few_then_the_lowest_seed_then_the_newest():
    newest, older = record(seed=1, run="newest"), record(seed=1, run="older")
    few = record(seed=0, trainable=50)
    assert one_of_each([few, newest, older], HASHES) == [newest]
    first = record(seed=0, trainable=100, run="oldest")
    assert one_of_each([few, newest, older, first], HASHES) == [first]


@pytest.mark.parametrize("changed", ["base", "tests", "train"])
def test_runs_on_another_base_or_other_rows_are_left_out(changed):
    other = record(hashes=HASHES | {changed: "x"})
    assert one_of_each([other], HASHES) == []


def test_training_rows_count_only_where_they_were_read():
    other = record(hashes=HASHES | {"train": "x"})
    assert one_of_each([other], {"base": "b", "tests": "t"}) == [other]


def test_the_base_as_it_is_and_an_evaluated_adapter_are_no_runs_of_a_method():
    assert one_of_each([record("none", seed=None, trainable=0), record(seed=None)], HASHES) == []


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A new adapter on the embedded base."""
    options = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj"]}
    embedded = ModelSettings("tiny", "embedded", None, "float32", None, False)
    base, _ = load_base(embedded, torch.device("cpu"))
    folder = tmp_path_factory.mktemp("new") / "adapter"
    save_adapter(attach(base, "lora", options), folder)
    return folder


@pytest.fixture
def trained(compose, adapter):
    """An experiment, and the record of a finished run of its kind, in folder and store."""
    experiment = compose("method=lora")
    made = record(identity="0123456789abcdef") | {
        "model": "tiny",
        "data": "synthetic",
        "protocol": "fast",
        "device": "cpu",
        "scores": {},
        "averages": {},
        "seconds": {},
        "rows": {"train": 0},
        "train": {},
        "training": {},
        "git": {"commit": None, "dirty": None},
    }
    folder = experiment.results / "runs" / made["identity"][:12]
    shutil.copytree(adapter, folder / "adapter")
    store = open_store(experiment)
    made["run_id"] = store.start(made["identity"], "lora seed 0", {})
    write_json(folder / "record.json", made)
    store.finish(made["run_id"], made, folder)
    return experiment, store, folder


def test_an_adapter_is_taken_from_the_runs_folder_or_else_from_the_store(trained, tmp_path):
    experiment, store, folder = trained
    (found,) = tuned_models(experiment, HASHES, None, store, tmp_path)
    assert (found.model, found.method, found.run) == ("LoRA", "lora", folder.name)
    before = found.load().state_dict()
    shutil.rmtree(folder)
    copies = tmp_path / "copies"
    copies.mkdir()
    (found,) = tuned_models(experiment, HASHES, None, store, copies)
    after = found.load().state_dict()
    assert all((after[name] == weight).all() for name, weight in before.items())
    assert list(copies.rglob("adapter_model.safetensors"))


def test_an_adapter_is_named_by_its_folder_or_by_its_runs(trained, tmp_path):
    experiment, store, folder = trained
    elsewhere = tmp_path / "mine"
    shutil.copytree(folder / "adapter", elsewhere)
    folders = [str(folder), str(folder / "adapter"), str(elsewhere)]
    found = tuned_models(experiment, HASHES, folders, store, tmp_path)
    assert [one.model for one in found] == ["LoRA", "LoRA", str(elsewhere)]
    assert [one.run for one in found] == [folder.name, folder.name, None]
    assert found[2].load().peft_config


def test_a_folder_without_an_adapter_is_refused(trained, tmp_path):
    experiment, store, _ = trained
    with pytest.raises(InputError, match=r"has no adapter_config.json; give the folders of saved"):
        tuned_models(experiment, HASHES, [str(tmp_path)], store, tmp_path)


def test_a_damaged_record_beside_an_adapter_takes_its_name_alone(trained, tmp_path):
    experiment, store, folder = trained
    (folder / "record.json").write_text("{")
    (found,) = tuned_models(experiment, HASHES, [str(folder)], store, tmp_path)
    assert found.model == str(folder / "adapter") and found.method is None
