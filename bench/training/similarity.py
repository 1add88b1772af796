"""Similarity of the tokens of a text in each layer of a model, and how evenly they are routed."""

from __future__ import annotations

from typing import Any

import torch

from bench.data.packing import Rows
from bench.training.packed import forward
from bench.training.routing import Routing


@torch.no_grad()
def layer_similarity(model: Any, rows: Rows) -> dict[str, Any]:
    """Mean cosine similarity of token states: near 1 a model can't tell its tokens apart.

    Returns:
        `similarity`: mean cosine over all pairs of tokens, before each block and, last, at the
        head's input; `routing`: of `Routing.load`; `tokens`: their number.
    """
    training = model.training
    model.eval()
    routing = Routing(model)
    rows = rows.to(next(model.parameters()).device)
    known = rows.documents >= 0
    with routing.counting():
        states = forward(model, rows, output_hidden_states=True).hidden_states
    model.train(training)
    return {
        "tokens": int(known.sum()),
        "similarity": [mean_cosine(state[known]) for state in states],
        "routing": routing.load(),
    }


def mean_cosine(states: torch.Tensor) -> float:
    """The mean cosine over all pairs of different rows of (tokens, width)."""
    units = torch.nn.functional.normalize(states.double(), dim=-1)
    count = len(units)
    return float((units.sum(0).square().sum() - count) / (count * (count - 1)))
