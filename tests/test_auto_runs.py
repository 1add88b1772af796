"""Whole runs with `curvature=auto`."""

import json

import pytest

from bench.evaluation.predictions import read
from bench.experiment import run


@pytest.fixture
def short(compose, small):
    return lambda *overrides: compose(*small, *overrides)


def curvatures(record, when):
    return {one["layer"]: one["curvature"] for one in record["training"]["gates"][when]}


def test_a_run_records_auto_and_the_k_of_each_layer_before_and_after_training(short):
    outcome = run(short("method=hyplora", "curvature=auto"))
    record = outcome.record
    assert record["curvature"] == record["options"]["curvature"] == "auto"
    start, end = curvatures(record, "start"), curvatures(record, "end")
    assert len(start) == 20 and len(set(start.values())) == 12  # q, k and v share their input
    assert start == end
    saved = json.loads((outcome.folder / "adapter" / "adapter_config.json").read_text())
    assert saved["curvature_pattern"] == pytest.approx(start, rel=1e-6)
    learnable = ("curvature=auto", "method.learnable_curvature=true", "train.batch_size=4")
    learned = run(short("method=hyplora", *learnable)).record
    assert curvatures(learned, "start") == start
    assert curvatures(learned, "end") != start


@pytest.mark.parametrize("method", ["hyplora_authors", "lora_matched"])
def test_a_saved_adapter_is_evaluated_without_measuring_again(short, method):
    trained = run(short(f"method={method}", "curvature=auto"))
    adapter = f"adapter={trained.folder / 'adapter'}"
    # The adapter has its curvatures, except plain LoRA's.
    named = ["curvature=auto"] if method == "lora_matched" else []
    loaded = run(short(f"method={method}", adapter, *named))
    assert loaded.record["curvature"] == loaded.record["options"]["curvature"] == "auto"
    made, remade = (read(r.folder / "predictions.jsonl") for r in (trained, loaded))
    assert made and made == remade


def test_auto_and_numbers_are_rows_of_one_grid(inline, small):
    grid = ("-m", "method=hyplora,lora_matched", "curvature=0.5,auto", *small)
    first = inline(*grid)
    assert first.code == 0, first.stderr
    assert "4 different runs: 4 done now" in first.stdout
    for row in ("HypLoRA (K=0.5)", "HypLoRA (K=auto)", "LoRA (matched, K=auto)"):
        assert row in first.stdout
    assert "K=auto: each layer's own K" in first.stdout
    assert "as measured: q_proj " in first.stdout
    again = inline(*grid)
    assert "4 different runs: 0 done now, 4 cached" in again.stdout
