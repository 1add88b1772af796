"""What is measured of a model before and after its pretraining."""

from __future__ import annotations

from typing import Any

import torch

from bench.data.packing import Packer, Rows
from bench.data.tokens import Tokens
from bench.models.loading import pick_device
from bench.models.untrained import build
from bench.pretraining.settings import Pretraining
from bench.training.packed import blocks, document_bits, forward
from bench.training.pretrain import curvatures
from bench.training.routing import Routing

INITIALISATIONS = ("public", "balanced")  # of HELM's, compared before training
ROWS = 8  # of validation documents, for the similarity of tokens


def initialisations(
    run: Pretraining, architecture: Any, tokenizer: Any, tokens: Tokens
) -> dict[str, Any]:
    """How similar tokens are in each layer before training, by initialisation."""
    configs = {"own": architecture}
    if hasattr(architecture, "initialization"):
        configs = {
            name: run.model.config(tokenizer, initialization=name) for name in INITIALISATIONS
        }
    rows = _sample(run, tokens)
    return {
        name: layer_similarity(build(config, run.seed).to(pick_device()), rows)
        for name, config in configs.items()
    }


def _sample(run: Pretraining, tokens: Tokens) -> Rows:
    """Rows of validation documents, the same for all models."""
    documents = tokens.parts["validation"]
    packer = Packer(tokens, documents, run.train.row_tokens, seed=0)
    return packer.rows(ROWS)


def evaluate(run: Pretraining, model: Any, tokens: Tokens) -> dict[str, Any]:
    """Bits per byte of `evaluation.split`, similarity of tokens and curvatures after training."""
    split, rows = run.evaluation.split, (run.train.row_tokens, run.train.micro_rows)
    documents = tokens.parts[split]
    bits = document_bits(model, tokens, documents, *rows, f"{run.name}: {split}")
    sizes = tokens.sizes[documents]
    return {
        "bits_per_byte": float(bits.sum() / sizes.sum()),
        "blocks": blocks(bits, sizes),
        "layers": layer_similarity(model, _sample(run, tokens)),
        "curvatures_at_end": curvatures(model),
    }


@torch.no_grad()
def layer_similarity(model: Any, rows: Rows) -> dict[str, Any]:
    """Mean cosine similarity of all pairs of token states: near 1 a model can't tell them apart.

    Before each block and, last, at the head's input; with the loads of the experts.
    """
    training, routing = model.training, Routing(model)
    model.eval()
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
