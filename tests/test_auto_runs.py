"""Whole runs with `curvature=auto`."""

import json

import pytest

from bench.evaluation.predictions import read
from bench.experiment import run
from tests.helpers import inline, records_of


@pytest.fixture(scope="module")
def grid(tmp_path_factory, small):
    """What a grid prints, and prints again; the records of its runs with `auto`; their folder."""
    results = tmp_path_factory.mktemp("results")
    words = ("-m", "method=hyplora,lora_matched", "curvature=0.5,auto", *small)
    done = [inline(*words, results=results) for _ in range(2)]
    assert [one.code for one in done] == [0, 0], done
    auto = {r["method"]: r for r in records_of(results) if r["curvature"] == "auto"}
    return [one.stdout for one in done], auto, results / "runs"


def curvatures(record, when):
    return {one["layer"]: one["curvature"] for one in record["training"]["gates"][when]}


def test_auto_and_numbers_are_rows_of_one_grid(grid):
    (first, again), _, _ = grid
    assert "4 different runs: 4 done now" in first
    for row in ("HypLoRA (K=0.5)", "HypLoRA (K=auto)", "LoRA (matched, K=auto)"):
        assert row in first
    assert "K=auto: each layer's own K" in first and "as measured: q_proj " in first
    assert "4 different runs: 0 done now, 4 cached" in again


def test_a_run_records_auto_and_the_k_of_each_layer_before_and_after_training(grid, compose, small):
    record, runs = grid[1]["hyplora"], grid[2]
    assert record["options"]["curvature"] == "auto"
    start, end = curvatures(record, "start"), curvatures(record, "end")
    assert len(start) == 20 and len(set(start.values())) == 12  # q, k and v share their input
    assert start == end
    saved = runs / record["identity"][:12] / "adapter" / "adapter_config.json"
    patterns = json.loads(saved.read_text())["curvature_pattern"]
    assert patterns == pytest.approx(start, rel=1e-6)
    learnable = ("curvature=auto", "method.learnable_curvature=true", "train.batch_size=4")
    learned = run(compose(*small, "method=hyplora", *learnable)).record
    assert curvatures(learned, "start") == start
    assert curvatures(learned, "end") != start


# The adapter has its curvatures, except plain LoRA's.
@pytest.mark.parametrize("words", [("hyplora",), ("lora_matched", "curvature=auto")])
def test_a_saved_adapter_is_evaluated_without_measuring_again(grid, compose, small, words):
    folder = grid[2] / grid[1][words[0]]["identity"][:12]
    loaded = run(compose(*small, f"adapter={folder / 'adapter'}", f"method={words[0]}", *words[1:]))
    assert loaded.record["curvature"] == loaded.record["options"]["curvature"] == "auto"
    made, remade = (read(place / "predictions.jsonl") for place in (folder, loaded.folder))
    assert made and made == remade
