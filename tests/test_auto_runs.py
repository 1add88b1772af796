"""Whole runs with `curvature=auto`."""

import json

import pytest

from bench.evaluation.predictions import read
from bench.experiment import run


def curvatures(record, when):
    return {one["layer"]: one["curvature"] for one in record["training"]["gates"][when]}


def test_a_run_records_auto_and_the_k_of_each_layer_before_and_after_training(compose, small):
    words = (*small, "method=hyplora", "curvature=auto", "train.batch_size=4")
    done = run(compose(*words))
    assert done.record["options"]["curvature"] == "auto"
    start, end = curvatures(done.record, "start"), curvatures(done.record, "end")
    assert len(start) == 20 and len(set(start.values())) == 12  # q, k and v share their input
    assert start == end
    saved = json.loads((done.folder / "adapter" / "adapter_config.json").read_text())
    assert saved["curvature_pattern"] == pytest.approx(start, rel=1e-6)
    learned = run(compose(*words, "method.learnable_curvature=true")).record
    assert curvatures(learned, "start") == start
    assert curvatures(learned, "end") != start


# The adapter has its curvatures, except plain LoRA's.
@pytest.mark.parametrize("words", [("hyplora",), ("lora_matched", "curvature=auto")])
def test_a_saved_adapter_is_evaluated_without_measuring_again(compose, small, words):
    method = (*small, f"method={words[0]}")
    made = run(compose(*method, "curvature=auto"))
    loaded = run(compose(*method, f"adapter={made.folder / 'adapter'}", *words[1:]))
    assert loaded.record["curvature"] == loaded.record["options"]["curvature"] == "auto"
    first, again = (read(one.folder / "predictions.jsonl") for one in (made, loaded))
    assert first and first == again
