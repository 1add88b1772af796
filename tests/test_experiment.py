"""Whole runs through the Python interface, on a few problems."""

import json
from pathlib import Path

import pytest

import bench.training.finetune as finetuning
from bench.errors import InputError
from bench.evaluation.predictions import read
from bench.experiment import run
from bench.tracking.store import Store

CONF = Path(__file__).resolve().parents[1] / "conf" / "method"
METHODS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "none")


@pytest.fixture
def small(compose, small):
    return lambda *overrides: compose(*small, *overrides)


def test_a_run_leaves_a_complete_record(small):
    outcome = run(small("method=lora"))
    record = outcome.record
    assert not outcome.found
    assert record["rows"] == {
        "train": 32,
        "train_too_long": 0,
        "train_cut": 0,
        "train_without_output": 0,
        "validation": 8,
        "validation_too_long": 0,
    }
    assert {key: score["n"] for key, score in record["scores"].items()} == {"mawps": 6, "SVAMP": 6}
    assert record["parameters"]["trainable"] == 147_456
    assert record["versions"]["torch"] and record["device"] and len(record["identity"]) == 64
    assert record["hashes"].keys() == {"base", "tests", "train"}
    assert record["files"] == record["data_files"] == {}
    assert 0 <= record["training"]["padding"] < 1
    assert len((outcome.folder / "predictions.jsonl").read_text().splitlines()) == 12
    assert (outcome.folder / "adapter" / "adapter_model.safetensors").is_file()
    assert not (outcome.folder / "checkpoint").exists()


def test_the_gates_of_a_run_are_measured_before_and_after_training(small):
    outcome = run(small("method=hyplora"))
    gates = outcome.record["training"]["gates"]
    assert [len(gates[when]) for when in ("start", "end")] == [20, 20]
    assert gates["start"][0]["mean"] != gates["end"][0]["mean"]
    assert (outcome.folder / "gates.png").is_file()
    plain = run(small("method=lora"))
    assert plain.record["training"]["gates"] == {}
    assert not (plain.folder / "gates.png").exists()


def test_a_finished_run_is_found_and_not_repeated(small, monkeypatch):
    first = run(small("method=none"))
    monkeypatch.setattr("bench.experiment.finetune", None)
    again = run(small("method=none", "seed=7", "evaluation.batch_size=2"))
    assert again.found and again.record == first.record


def test_a_found_run_takes_the_names_that_the_base_has_today(small):
    run(small("method=none"))
    again = run(small("method=none", "model.published=LLaMA3-8B"))
    assert again.found and again.record["published_base"] == "LLaMA3-8B"


def test_force_runs_again_and_the_newer_run_counts(small):
    first = run(small("method=none"))
    forced = run(small("method=none", "force=true"))
    assert not forced.found
    assert forced.record["run_id"] != first.record["run_id"]
    assert forced.record["scores"] == first.record["scores"]
    assert run(small("method=none")).record["run_id"] == forced.record["run_id"]


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_adapter_is_evaluated_without_training(small, method):
    trained = run(small(f"method={method}"))
    loaded = run(small(f"method={method}", f"adapter={trained.folder / 'adapter'}"))
    made, remade = (read(r.folder / "predictions.jsonl") for r in (trained, loaded))
    assert made and made == remade
    assert loaded.record["scores"] == trained.record["scores"]
    assert loaded.record["rows"]["train"] == 0 and loaded.record["seed"] is None


def test_an_adapter_is_recorded_with_the_options_it_was_trained_with(small):
    trained = run(small("method=hyplora", "curvature=0.5", "method.r=4"))
    loaded = run(small("method=hyplora", f"adapter={trained.folder / 'adapter'}"))
    assert loaded.record["curvature"] == 0.5 and loaded.record["options"]["r"] == 4


def test_an_adapter_of_another_method_or_another_base_is_refused(small, local_base):
    adapter = run(small("method=lora")).folder / "adapter"
    for method in ("hyplora", "none"):
        with pytest.raises(InputError, match="name the method that it was trained with"):
            run(small(f"method={method}", f"adapter={adapter}"))
    with pytest.raises(InputError, match=r"can't be put on this base|does not fit"):
        run(small(f"adapter={adapter}", "model=local", f"model.path={local_base}"))


def test_an_adapter_without_safetensors_is_refused(small, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "adapter_config.json").write_text("{}")
    (tmp_path / "old" / "adapter_model.bin").write_bytes(b"a pickle")
    with pytest.raises(InputError, match=r"no adapter_model\.safetensors"):
        run(small(f"adapter={tmp_path / 'old'}"))


def test_a_local_base_takes_the_same_path(small, local_base):
    outcome = run(small("method=hyplora", "model=local", f"model.path={local_base}"))
    assert outcome.record["model"] == local_base.name


def test_a_failed_run_is_recorded_with_its_reason_and_tried_again(small, monkeypatch):
    experiment = small("method=lora")
    with monkeypatch.context() as patch:
        patch.setattr("bench.training.module.target_loss", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(experiment)
    store = Store(experiment.results, None, "hyplora-bench")
    (failed,) = store.client.search_runs([store.experiment])
    assert failed.info.status == "FAILED" and "ZeroDivisionError" in failed.data.tags["failure"]
    assert run(experiment).record["run_id"] == failed.info.run_id


def test_a_run_killed_in_evaluation_trains_no_second_time(small, monkeypatch):
    experiment = small("method=lora")
    undisturbed = run(small("method=lora", "force=true")).record["scores"]
    with monkeypatch.context() as patch:
        patch.setattr("bench.evaluation.evaluate.judge", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(small("method=lora", "force=true"))
    (folder,) = (experiment.results / "runs").iterdir()
    assert (folder / "training.json").is_file()
    monkeypatch.setattr(finetuning, "finetune", None)
    assert run(small("method=lora", "force=true")).record["scores"] == undisturbed


def test_a_forced_run_that_was_interrupted_goes_on_when_forced_again(small, monkeypatch):
    run(small("method=none"))
    with monkeypatch.context() as patch:
        patch.setattr("bench.experiment.write_json", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(small("method=none", "force=true"))
    monkeypatch.setattr("bench.evaluation.generation.generate", None)
    assert not run(small("method=none", "force=true")).found


def interrupt(*_):
    raise KeyboardInterrupt


def test_ranks_and_targets_that_do_not_fit_are_told_plainly(small):
    with pytest.raises(InputError, match="nonsense"):
        run(small("method=lora", "method.target_modules=[nonsense]"))


def test_predictions_can_be_read_by_any_program(small):
    outcome = run(small("method=none"))
    keys = {"task", "index", "text", "prediction", "answer", "correct"}
    for line in (outcome.folder / "predictions.jsonl").read_text().splitlines():
        assert keys <= json.loads(line).keys()
