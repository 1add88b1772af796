"""Runs of one process share a base, and nothing else: their order makes no difference."""

import dataclasses
import json

import pytest
import torch

from bench.data import batches
from bench.experiment import evaluate, finetune, prepare
from bench.models import shared
from bench.models.loading import load_base, pick_device
from bench.models.settings import ModelSettings

TINY = ModelSettings("tiny", "embedded", None, "float32", None, False)
RUNS = {
    "hyplora": ("method=hyplora", "method.lora_dropout=0.1"),
    "series": ("method=series", "seed=1"),
    "none": ("method=none",),
}


@pytest.fixture
def outcome(compose, small, tmp_path):
    """A run's losses and texts; `place` keeps one from finding what another has done."""

    def run(name, place):
        few = ("data.train_size=8", "data.test_size=3", "protocol.max_new_tokens=12")
        experiment = compose(*small, *few, "train.batch_size=8", *RUNS[name])
        prepared = prepare(experiment)
        folder = tmp_path / place / name
        folder.mkdir(parents=True)
        prepared = dataclasses.replace(prepared, folder=folder)
        model, tokenizer, training = finetune(experiment, prepared)
        by_set = evaluate(experiment, prepared, model, tokenizer)["scores"]
        scores = {key: score["accuracy"] for key, score in by_set.items()}
        lines = (folder / "predictions.jsonl").read_text().splitlines()
        texts = [json.loads(line)["text"] for line in lines]
        saved = folder / "adapter" / "adapter_model.safetensors"
        adapter = saved.read_bytes() if saved.exists() else None
        losses = training.get("losses"), training.get("validation")
        return json.dumps([scores, texts, losses]), adapter

    return run


def forget():
    shared._kept.clear()
    batches._encoded.cache_clear()


def test_runs_that_share_a_base_do_not_see_each_other(outcome):
    alone = {}
    for name in RUNS:
        forget()
        alone[name] = outcome(name, "alone")
    for place, order in (("forth", list(RUNS)), ("back", list(RUNS)[::-1])):
        forget()
        assert {name: outcome(name, place) for name in order} == alone
    (kept,) = shared._kept
    fresh, _ = load_base(TINY, pick_device())
    state = kept.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in fresh.state_dict().items())


def test_rows_are_tokenised_once(outcome):
    forget()
    outcome("hyplora", "one")
    before = batches._encoded.cache_info()
    outcome("series", "other")
    after = batches._encoded.cache_info()
    assert (after.hits - before.hits, after.misses) == (2, before.misses)  # training, validation
