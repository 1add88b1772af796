"""What is measured of a model before and after its pretraining."""

from __future__ import annotations

from typing import Any

from bench.data.packing import Packer
from bench.models.loading import pick_device
from bench.models.untrained import build
from bench.pretraining.settings import Pretraining
from bench.training.held_out import HeldOut, blocks, document_bits
from bench.training.pretrain import Text, curvatures
from bench.training.similarity import layer_similarity

INITIALISATIONS = ("public", "balanced")  # of HELM's, compared before training
ROWS = 8  # of held-out text, for the similarity of tokens


def initialisations(
    run: Pretraining, architecture: Any, tokenizer: Any, text: Text
) -> dict[str, Any]:
    """How similar tokens are in each layer before training, by initialisation."""
    configs = {"own": architecture}
    if hasattr(architecture, "initialization"):
        configs = {
            name: run.model.config(tokenizer, initialization=name) for name in INITIALISATIONS
        }
    rows = _sample(run, text)
    return {
        name: layer_similarity(build(config, run.seed).to(pick_device()), rows)
        for name, config in configs.items()
    }


def _sample(run: Pretraining, text: Text) -> Any:
    """Rows of held-out text, the same for all models."""
    held_out = text.tokens.held_out.nonzero()[0]
    return Packer(text.tokens, held_out, run.train.row_tokens, text.pad_id, seed=0).rows(ROWS)


def evaluate(run: Pretraining, model: Any, text: Text) -> dict[str, Any]:
    """Bits per byte, similarity of tokens and curvatures of the trained model."""
    held_out = HeldOut(text.tokens, run.train.row_tokens, text.pad_id, run.train.micro_rows)
    documents = held_out.documents
    bits = document_bits(model, held_out, documents, f"{run.name}: held-out text")
    sizes = text.tokens.sizes[documents]
    return {
        "bits_per_byte": float(bits.sum() / sizes.sum()),
        "held_out_documents": len(documents),
        "held_out_bytes": int(sizes.sum()),
        "blocks": blocks(bits, sizes),
        "layers": layer_similarity(model, _sample(run, text)),
        "curvatures_at_end": curvatures(model),
    }
