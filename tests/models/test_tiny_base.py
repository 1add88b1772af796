import json

import pytest
import torch
import yaml
from safetensors import safe_open
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel

from bench.config import PROJECT
from bench.models.tiny_base import TINY_BASE, drop_unused_merges, llama_config, train_tokenizer
from bench.training.probes import probe
from bench.training.tiny_base import below_gates, tokenizer_texts


def test_the_base_is_as_small_as_documented(tiny):
    assert sum(path.stat().st_size for path in TINY_BASE.iterdir()) <= 4_000_000
    model, shape = tiny[0], llama_config(tiny[1]).to_dict()
    assert type(model).__name__ == "LlamaForCausalLM"
    assert 1_000_000 <= sum(p.numel() for p in model.parameters()) <= 1_900_000
    for key in ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"):
        assert model.config.to_dict()[key] == shape[key]
    with safe_open(TINY_BASE / "model.safetensors", "pt") as weights:
        dtypes = {weights.get_tensor(name).dtype for name in list(weights.keys())}
    assert dtypes == {torch.bfloat16}


def test_its_record_has_the_settings_of_the_configuration_and_it_passes_its_gates(tiny):
    record = json.loads((TINY_BASE / "pretraining.json").read_text())
    recipe = yaml.safe_load((PROJECT / "conf/action/tiny_base.yaml").read_text())
    for key in ("name", "output", "checkpoint_minutes"):
        del recipe[key]
    assert record["settings"].keys() == recipe.keys()
    for key, value in record["settings"].items():
        # YAML reads 2e-3 as text, JSON as a number.
        assert str(value) == str(recipe[key]) or value == float(recipe[key]), key
    found = probe(*tiny)
    assert below_gates(found, record["settings"]["gates"]) == []
    assert record["probes"].keys() == found.keys()
    assert record["validation_loss"] < 1.5 and record["cpu_seconds"] <= 40 * 60


@pytest.mark.parametrize("text", ["Mary has 3 books.", "naïve Ω 数学 \t\n", "\x00\x7f😀 {x}"])
def test_the_tokenizer_decodes_what_it_encodes(tiny, text):
    tokenizer = tiny[1]
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_bytes_and_digits_are_tokens(tiny):
    assert set(ByteLevel.alphabet()) <= set(tiny[1].get_vocab())
    assert tiny[1].tokenize("1234+56") == ["1", "2", "3", "4", "+", "5", "6"]


@pytest.mark.slow
def test_its_own_texts_use_every_merge(tiny):
    tokenizer = tiny[1]
    vocabulary = tokenizer.get_vocab()
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merged = {left + right: (left, right) for left, right in state["merges"]}
    used = set()
    for ids in tokenizer(tokenizer_texts(seed=0))["input_ids"]:
        used.update(ids)
    built_on = {part for pair in merged.values() for part in pair}
    assert not [t for t in merged if vocabulary[t] not in used and t not in built_on]


def test_merges_that_no_text_uses_are_dropped_and_nothing_else_changes():
    letters = list("abcdx")
    vocabulary = {t: i for i, t in enumerate([*letters, "ab", "abc", "cd", "dx"])}
    merges = [("a", "b"), ("ab", "c"), ("c", "d"), ("d", "x")]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    texts = ["abc abc", "cd", "x"]
    smaller = drop_unused_merges(tokenizer, texts)
    # "ab" is a part of "abc"; "dx" is a part of nothing.
    assert set(smaller.get_vocab()) == {*letters, "ab", "abc", "cd"}
    assert sorted(smaller.get_vocab().values()) == list(range(8))
    for text in texts:
        assert smaller.encode(text).tokens == tokenizer.encode(text).tokens


def test_a_trained_tokenizer_starts_with_bos_and_pads_on_the_left():
    tokenizer = train_tokenizer(["one two three"] * 20, vocab_size=300, min_frequency=2)
    batch = tokenizer(["one", "one two three"], padding=True)["input_ids"]
    assert batch[1][0] == tokenizer.bos_token_id
    assert batch[0][0] == tokenizer.pad_token_id
