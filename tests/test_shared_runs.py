"""Runs of one process share a base and nothing else: their order makes no difference."""

import json

import pytest
import torch

from bench.data import batches
from bench.experiment import prepare
from bench.models import shared
from bench.runs.finetuning import evaluate, train

RUNS = {
    "hyplora": ("method=hyplora", "method.lora_dropout=0.1"),
    "series": ("method=series", "seed=1"),
    "none": ("method=none",),
}


@pytest.fixture
def outcome(compose, small, tmp_path):
    """A run's losses, texts and adapter; `place` keeps it from resuming another one's."""

    def run(name, place):
        prepared = prepare(compose(*small, "train.batch_size=4", *RUNS[name]))
        folder = tmp_path / place / name
        folder.mkdir(parents=True, exist_ok=True)
        of_run = (prepared.settings, prepared.problems, folder)
        model, tokenizer, training = train(*of_run, prepared.hashes["base"])
        scores = evaluate(*of_run, model, tokenizer)["scores"]
        accuracies = {key: score["accuracy"] for key, score in scores.items()}
        lines = (folder / "predictions.jsonl").read_text().splitlines()
        texts = [json.loads(line)["text"] for line in lines]
        saved = folder / "adapter" / "adapter_model.safetensors"
        adapter = saved.read_bytes() if saved.exists() else None
        losses = training.get("losses"), training.get("validation")
        return json.dumps([accuracies, texts, losses]), adapter

    return run


def forget():
    shared._kept.clear()
    batches.encode_training.cache_clear()


def test_runs_that_share_a_base_do_not_see_each_other(outcome, fresh_tiny):
    alone = {}
    for name in RUNS:
        forget()
        alone[name] = outcome(name, "alone")
    forget()
    for number, name in enumerate(("hyplora", "series", "none", "hyplora")):
        assert outcome(name, f"shared{number}") == alone[name]
    (kept,) = shared._kept
    state = kept.model.state_dict()
    fresh = fresh_tiny[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in fresh.items())


def test_rows_are_tokenised_once(outcome):
    forget()
    outcome("hyplora", "one")
    before = batches.encode_training.cache_info()
    outcome("series", "other")
    after = batches.encode_training.cache_info()
    assert (after.hits - before.hits, after.misses) == (2, before.misses)  # training, validation
