"""The input and output embeddings of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

INPUT, OUTPUT = "input", "output"
CHUNK = 2**24  # numbers that are converted to float32 at once, 64 MiB
PARALLEL = 1e-2  # maximum relative deviation of parallel vectors in half precision


@dataclass(frozen=True)
class Matrices:
    """A model's embeddings (vocabulary, dimension) as stored, in its dtype and on its device.

    Without the factor that some models apply. The output is None if tied.
    """

    input: Tensor
    output: Tensor | None

    @property
    def roles(self) -> dict[str, Tensor]:
        """The matrices by their role."""
        return {INPUT: self.input} | ({} if self.output is None else {OUTPUT: self.output})


def matrices_of(model: Any) -> Matrices:
    """The embeddings of a causal language model, without a gradient."""
    given, made = (
        _table(layer) for layer in (model.get_input_embeddings(), model.get_output_embeddings())
    )
    return Matrices(given, None if made.data_ptr() == given.data_ptr() else made)


def _table(layer: Any) -> Tensor:
    """A layer's rows; for points on a hyperboloid their space coordinates."""
    return getattr(layer, "space", layer.weight).detach()


def row_norms(matrix: Tensor, centre: Tensor | None = None) -> Tensor:
    """Norms of a matrix's rows in any dtype, relative to a centre (d,); float32 on the CPU."""
    found = []
    for part in matrix.split(max(1, CHUNK // matrix.shape[1])):
        rows = part.float() if centre is None else part.float() - centre
        found.append(torch.linalg.vector_norm(rows, dim=1).cpu())
    return torch.cat(found)


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


def in_front(tokenizer: Any) -> int | None:
    """The token that a tokenizer puts before a text; None if there is none."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    ids = tokenizer("a")["input_ids"]
    return ids[0] if ids[0] != bare[0] else None
