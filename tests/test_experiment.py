"""Whole runs through the Python interface, on a few problems."""

import json

import pytest
import torch

from bench.errors import InputError
from bench.evaluation import generation as evaluate
from bench.evaluation.predictions import read
from bench.experiment import run
from bench.identity import identity_of_record
from tests.helpers import interrupted


@pytest.fixture
def small(compose, small):
    return lambda *overrides: compose(*small, *overrides)


def test_a_run_leaves_a_complete_record(small):
    outcome = run(small("method=hyplora"))
    record = outcome.record
    assert not outcome.found
    rows = {"train": 8, "train_too_long": 0, "train_cut": 0, "train_without_output": 0}
    assert record["rows"] == {**rows, "validation": 4, "validation_too_long": 0}
    assert {key: score["n"] for key, score in record["scores"].items()} == {"mawps": 2, "SVAMP": 2}
    assert record["parameters"]["trainable"] == 147_476
    assert record["dtype"] and record["hashes"].keys() == {"base", "tests", "train"}
    assert record["identity"] == identity_of_record(json.loads(json.dumps(record)))
    assert record["files"] == record["data_files"] == {}
    assert 0 <= record["training"]["padding"] < 1
    gates = record["training"]["gates"]
    assert [len(gates[when]) for when in ("start", "end")] == [20, 20]
    assert gates["start"][0]["mean"] != gates["end"][0]["mean"]
    lines = (outcome.folder / "predictions.jsonl").read_text().splitlines()
    keys = {"task", "index", "text", "prediction", "answer", "correct"}
    assert len(lines) == 4 and all(keys <= json.loads(line).keys() for line in lines)
    mean = sum(json.loads(line)["nll"] for line in lines) / 4
    assert record["nll"] == {"micro": pytest.approx(mean), "macro": pytest.approx(mean)}
    names = {path.name for path in outcome.folder.iterdir()}
    assert names == {"adapter", "lock", "predictions.jsonl", "record.json", "training.json"}


def test_the_base_itself_is_found_whatever_its_seed(small, monkeypatch):
    first = run(small("method=none"))
    assert first.record["training"].keys() == {"parameters"}
    monkeypatch.setattr("bench.runs.finetuning.train", None)
    again = run(small("method=none", "seed=7", "evaluation.batch_size=2", "model.published=8B"))
    assert again.found and again.record == first.record | {"published_base": "8B"}


@pytest.mark.parametrize("method", ["prefix", "hyplora_boost"])
def test_a_saved_adapter_is_evaluated_without_training(small, method):
    trained = run(small(f"method={method}"))
    loaded = run(small(f"method={method}", f"adapter={trained.folder / 'adapter'}"))
    made, remade = (read(r.folder / "predictions.jsonl") for r in (trained, loaded))
    assert made and made == remade
    assert loaded.record["scores"] == trained.record["scores"]
    assert loaded.record["rows"]["train"] == 0 and loaded.record["seed"] is None
    assert loaded.record["hashes"].keys() == {"base", "tests", "adapter"}


def test_an_adapter_is_recorded_with_the_options_it_was_trained_with(small, tmp_path):
    from bench.experiment import prepare

    trained = run(small("method=hyplora", "curvature=0.5", "method.r=4"))
    adapter = trained.folder / "adapter"
    options = prepare(small("method=hyplora", f"adapter={adapter}")).settings.method.options
    assert options["curvature"] == 0.5 and options["r"] == 4
    with pytest.raises(InputError, match="give the method that it was trained with"):
        run(small("method=lora", f"adapter={adapter}"))
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no adapter_model\.safetensors or "):
        run(small("method=hyplora", f"adapter={adapter}"))


def test_a_bfloat16_base_is_trained_in_float32_and_evaluated_in_float16(small, monkeypatch):
    few = ("method=hyplora", "data.tests=[mawps]", "data.test_size=1")
    expected = run(small(*few, "model.dtype=float32")).record["training"]["losses"]
    used = []

    def generate(model, *given):
        used.append(next(model.parameters()).dtype)
        return evaluate.generate(model, *given)

    monkeypatch.setattr("bench.evaluation.evaluate.generate", generate)
    other = ("model.dtype=bfloat16", "train.precision=32-true", "evaluation.dtype=float16")
    record = run(small(*few, *other)).record
    assert record["training"]["losses"] == expected  # its weights are bfloat16 numbers
    assert set(used) == {torch.float16} and record["dtype"] == "torch.bfloat16"
    assert record["identity"] == identity_of_record(json.loads(json.dumps(record)))


@pytest.mark.slow  # two processes
def test_a_run_over_a_sharded_base_is_that_of_one_process(small):
    few = ("method=hyplora", "data.test_size=1")
    alone = run(small(*few)).record
    sharded = small(*few, "force=true", "train.devices=2", "train.sharded=true")
    outcome = run(sharded)
    assert outcome.record["identity"] == alone["identity"]
    losses = (dict(record["training"]["losses"]) for record in (outcome.record, alone))
    assert next(losses) == pytest.approx(next(losses), rel=1e-5)
    assert (outcome.folder / "adapter" / "adapter_model.safetensors").is_file()
    with pytest.raises(InputError, match="can't shard quantised weights"):
        run(small(*few, "train.devices=2", "train.sharded=true", "model.quantization=int8"))


def test_a_run_killed_in_evaluation_trains_no_second_time(small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("bench.evaluation.evaluate.judge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(small("method=lora"))
    monkeypatch.setattr("bench.runs.finetuning.finetune", None)
    outcome = run(small("method=lora"))
    assert outcome.record["training"] == json.loads((outcome.folder / "training.json").read_text())
    assert {key: score["n"] for key, score in outcome.record["scores"].items()} == {
        "mawps": 2, "SVAMP": 2,
    }  # fmt: skip


@pytest.mark.slow  # graphs of training, prefill and decoding
@pytest.mark.timeout(1800)
def test_a_compiled_run_has_the_scores_of_an_eager_one(small, monkeypatch):
    whole, compiled = torch.nn.Module.compile, []

    def traced(self, **options):
        compiled.append(type(self).__name__)
        whole(self, backend="aot_eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    eager = run(small("method=lora")).record
    found = run(small("method=lora", "train.compile=true", "evaluation.compile=true")).record
    assert compiled == ["LlamaModel"] * 2 and found["identity"] != eager["identity"]
    assert dict(found["training"]["losses"]) == pytest.approx(
        dict(eager["training"]["losses"]), rel=1e-4
    )
    assert found["scores"] == eager["scores"]
