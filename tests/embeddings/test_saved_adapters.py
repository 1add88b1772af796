"""Which runs a study takes for the methods, and where their adapters come from."""

import shutil

import pytest

from bench.embeddings.saved_adapters import one_of_each, tuned_models
from bench.errors import InputError
from bench.files import write_json
from bench.methods import attach
from bench.runs.lifecycle import open_store
from bench.training.adapters import save_adapter
from tests.report.many_runs import run_of

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


def one_run(records, hashes=HASHES):
    return one_of_each(records, hashes, lambda record: record.get("run") != "imported")


def test_each_method_and_curvature_has_one_run():
    given = [record(), record("hyplora", 0.1), record("hyplora", 1.0), record("hyplora", "auto")]
    assert one_run(given) == given


def test_of_several_runs_the_most_weights_count_then_the_lowest_seed_then_the_newest():
    newest, older = record(seed=1, run="newest"), record(seed=1, run="older")
    few = record(seed=0, trainable=50)
    assert one_run([few, newest, older]) == [newest]
    first = record(seed=0, trainable=100, run="oldest")
    assert one_run([few, newest, older, first]) == [first]


def test_a_run_without_its_adapter_is_left_out(caplog):
    imported, own = record(run="imported"), record(seed=1)
    assert one_run([imported, own, record("dora", run="imported")]) == [own]
    assert "left out: no run of DoRA has its adapter" in caplog.text


@pytest.mark.parametrize("changed", ["base", "tests", "train"])
def test_runs_on_another_base_or_other_rows_are_left_out(changed):
    other = record(hashes=HASHES | {changed: "x"})
    assert one_run([other]) == []
    read = {key: value for key, value in HASHES.items() if key != changed}
    assert one_run([other], read) == [other], "what was not read does not count"


def test_untrained_runs_are_left_out():
    assert one_run([record("none", seed=None, trainable=0), record(seed=None)]) == []


@pytest.fixture
def trained(compose, fresh_tiny):
    """An experiment, and a finished run of its kind with a new adapter, in folder and store."""
    experiment = compose("method=lora")
    made = run_of("lora", hashes=HASHES)
    folder = experiment.tracking.results / "runs" / made["identity"][:12]
    folder.mkdir(parents=True)
    options = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj"]}
    save_adapter(attach(fresh_tiny[0], "lora", options), folder / "adapter")
    store = open_store(experiment.tracking)
    made["run_id"] = store.start(made["identity"], "lora seed 0", {})
    write_json(folder / "record.json", made)
    store.finish(made["run_id"], made, folder)
    return experiment, store, folder


def test_an_adapter_is_taken_from_the_runs_folder_or_else_from_the_store(trained, tmp_path):
    experiment, store, folder = trained
    (found,) = tuned_models(experiment, HASHES, None, store, tmp_path)
    named = {"model": "LoRA", "method": "lora", "curvature": None, "run": folder.name}
    assert found.facts == named
    before = found.load().state_dict()
    shutil.rmtree(folder)
    copies = tmp_path / "copies"
    copies.mkdir()
    (found,) = tuned_models(experiment, HASHES, None, store, copies)
    after = found.load().state_dict()
    assert all((after[name] == weight).all() for name, weight in before.items())
    assert list(copies.rglob("adapter_model.safetensors"))


def test_an_adapter_is_given_by_its_folder_or_by_its_runs(trained, tmp_path):
    experiment, store, folder = trained

    def labels(*folders):
        found = tuned_models(experiment, HASHES, list(map(str, folders)), store, tmp_path)
        return [(one.facts["model"], one.facts["run"]) for one in found]

    elsewhere = tmp_path / "mine"
    shutil.copytree(folder / "adapter", elsewhere)
    assert labels(folder, folder / "adapter") == [("LoRA", folder.name)] * 2
    assert labels(elsewhere) == [(str(elsewhere), None)]
    with pytest.raises(InputError, match=r"has no adapter_config.json; give the folders of saved"):
        labels(tmp_path)
    (folder / "record.json").write_text("{")
    assert labels(folder) == [(str(folder / "adapter"), None)]
