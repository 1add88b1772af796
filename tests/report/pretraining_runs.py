"""Committed pretraining runs, with made-up documents."""

import json
from functools import cache

import numpy as np

from bench.report.measurements import PUBLISHED

DOCUMENTS = 60
PART = {"documents": DOCUMENTS, "bytes": 6000, "sha256": "d" * 64}


@cache
def committed():
    """A run of each model as JSON, by model."""
    texts = [path.read_bytes() for path in sorted((PUBLISHED / "helm").glob("*.json"))]
    return {record["model"]: t for t in texts if "model" in (record := json.loads(t))}


def made(model, seed=0, bits=2.0, **changes):
    """A run whose documents need about so many bits per byte."""
    record = json.loads(committed()[model])
    noise = np.random.default_rng(seed).normal(0, 0.05, DOCUMENTS)
    noise += np.random.default_rng([seed, model.startswith("helm")]).normal(0, 0.01, DOCUMENTS)
    found, sizes = (100 * (bits + noise)).tolist(), [100.0] * DOCUMENTS
    training = {
        "order": f"order of seed {seed}",
        "bits_per_byte": sum(found) / sum(sizes),
        "blocks": {"bits": found, "bytes": sizes},
    }
    own = {
        "identity": f"{model}-{seed}-{bits}",
        "seed": seed,
        "text": dict.fromkeys(("train", "validation", "test"), PART),
        "train": record["train"] | {"lr": 2e-3, "warmup": 0.03},
        "training": record["training"] | training,
    }
    return record | own | changes
