"""action=tiny_base: make the embedded base."""

from __future__ import annotations

from typing import Any

from bench.config import PROJECT, read_tracking
from bench.training.tiny_base import TinyBaseSettings, make_tiny_base


def tiny_base(config: dict[str, Any]) -> dict[str, Any]:
    """Make corpus, tokenizer and weights."""
    settings = {k: v for k, v in config["action"].items() if k != "name"}
    settings["output"] = str(PROJECT / settings["output"])
    states = read_tracking(config).results / "pretraining"
    folder, record = make_tiny_base(TinyBaseSettings(**settings), states)
    probes = ", ".join(f"{name} {share:.2f}" for name, share in record["probes"].items())
    loss = record["validation_loss"]
    return {"summary": f"embedded base: loss {loss:.3f}, probes {probes} -> {folder}"}
