"""The published part of a record, and its base."""

import json

import pytest

from bench.report.shared_record import Base, base_of, shared_record


def full(path="embedded", content="abc", commit=None, dtype="float32", **model):
    return {
        "config": {
            "model": {"path": path, "revision": None, "quantization": None} | model,
            "data": {"root": "/home/me/LLM-Adapters", "train": ["mawps"]},
            "tracking": {"folder": "/scratch/me/results"},
        },
        "hashes": {"base": content},
        "base_commit": commit,
        "dtype": f"torch.{dtype}",
        "text": "a/b, c: 1/2\n/not a path",
    }


@pytest.mark.parametrize(
    ("record", "base"),
    [
        (full(), Base("bench/models/tiny", None, "embedded", "float32", None, "abc")),
        (
            full("some/base", "some/base@main", "c0ffee", revision="main"),
            Base("some/base", "c0ffee", "hub", "float32", None, "some/base@main"),
        ),
        (
            full("/models/Llama-3/", dtype="bfloat16", quantization="nf4"),
            Base("Llama-3", None, "local", "bfloat16", "nf4", "abc"),
        ),
        (full("models/mine"), Base("mine", None, "local", "float32", None, "abc")),
    ],
)
def test_a_base_has_a_public_name(record, base):
    assert base_of(record) == base


def test_paths_lose_their_folders_and_texts_stay():
    given = full("~/models/base")
    shared = shared_record(given)
    assert "tracking" not in shared["config"]
    assert shared["config"]["data"] == {"root": "LLM-Adapters", "train": ["mawps"]}
    assert shared["config"]["model"]["path"] == "base" and shared["text"] == given["text"]
    assert not any(word in json.dumps(shared) for word in ("/home", "/scratch", "~"))
