"""What of a record leaves this machine."""

import json

import pytest

from bench.report.shared_record import Base, base_of, shared_record


@pytest.fixture
def full(record):
    def make(path="embedded", content="abc", **model):
        settings = {"path": path, "revision": None, "dtype": "auto", "quantization": None}
        return record(
            config={
                "model": settings | model,
                "data": {"root": "/home/me/LLM-Adapters", "train": ["mawps"]},
                "tracking": {"folder": "/scratch/me/results"},
            },
            hashes={"base": content},
            train={"precision": "32-true"},
            base_commit=None,
        )

    return make


def test_a_base_is_named_as_others_know_it(full):
    assert base_of(full()) == Base("bench/models/tiny", None, "embedded", "float32", None, "abc")
    hub = base_of(full("some/base", "some/base@main", revision="main") | {"base_commit": "c0ffee"})
    assert (hub.name, hub.revision, hub.kind) == ("some/base", "c0ffee", "hub")
    local = base_of(full("/models/Meta-Llama-3-8B/", dtype="bfloat16", quantization="nf4"))
    assert (local.name, local.kind, local.dtype) == ("Meta-Llama-3-8B", "local", "bfloat16")
    assert base_of(full("models/mine")).kind == "local"


def test_paths_lose_their_folders_and_where_runs_are_kept_is_left_out(full):
    shared = shared_record(full("~/models/base"))
    assert "tracking" not in shared["config"]
    assert shared["config"]["data"] == {"root": "LLM-Adapters", "train": ["mawps"]}
    assert shared["config"]["model"]["path"] == "base"
    assert not any(word in json.dumps(shared) for word in ("/home", "/scratch", "~"))


def test_scores_and_texts_stay(full):
    given = full() | {"protocol_text": "a/b, c: 1/2\n/not a path"}
    assert shared_record(given)["scores"] == given["scores"]
    assert shared_record(given)["protocol_text"] == given["protocol_text"]
