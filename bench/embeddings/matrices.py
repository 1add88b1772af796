"""The input and output embeddings of a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

INPUT, OUTPUT = "input", "output"
CHUNK = 2**24  # numbers that are converted to float32 at once, 64 MiB
PARALLEL = 1e-2  # maximum relative deviation of parallel vectors in half precision


def matrices_of(model: Any) -> dict[str, Tensor]:
    """The embeddings (vocabulary, dimension) of a causal language model, as stored, by role.

    Without the factor that some models apply. A tied output is left out.
    """
    matrices = {INPUT: _table(model.get_input_embeddings())}
    output = _table(model.get_output_embeddings())
    if output.data_ptr() != matrices[INPUT].data_ptr():
        matrices[OUTPUT] = output
    return matrices


def _table(layer: Any) -> Tensor:
    """A layer's rows; for points on a hyperboloid their space coordinates."""
    return getattr(layer, "space", layer.weight).detach()


def row_norms(matrix: Tensor, centre: Tensor | float = 0.0) -> Tensor:
    """Norms of a matrix's rows in any dtype, relative to a centre (d,); float32 on the CPU."""
    parts = matrix.split(max(1, CHUNK // matrix.shape[1]))
    return torch.cat(
        [torch.linalg.vector_norm(part.float() - centre, dim=1).cpu() for part in parts]
    )


@torch.inference_mode()
def input_scale(model: Any, token: int) -> float | None:
    """The factor that the model applies to its input embedding: sqrt(dimension) in Gemma.

    Measured with a token, since no configuration has it. None if the first layer's input is no
    multiple of the embedding, as with added positions.
    """
    row = _table(model.get_input_embeddings())[token].float()
    given = torch.tensor([[token]], device=row.device)
    entered = model(input_ids=given, output_hidden_states=True).hidden_states[0][0, 0].float()
    scale = float(entered @ row / (row @ row))
    apart = torch.linalg.vector_norm(entered - scale * row)
    return scale if apart <= PARALLEL * torch.linalg.vector_norm(entered) else None


def prefix_token(tokenizer: Any) -> str | None:
    """The special token that a tokenizer puts before a text; None if there is none."""
    bare, ids = (tokenizer("a", add_special_tokens=own)["input_ids"] for own in (False, True))
    return None if ids[0] == bare[0] else tokenizer.convert_ids_to_tokens(ids[0])
