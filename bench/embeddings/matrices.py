"""The matrices that a model reads tokens with, and writes them with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

INPUT, OUTPUT = "input", "output"
CHUNK = 2**24  # numbers that are turned into float32 at once, 64 MiB
PARALLEL = 1e-2  # the most that half precision turns a vector by, as a share of its length


@dataclass(frozen=True)
class Matrices:
    """A model's embeddings, as they are stored: no factor that the model has for them is applied.

    Attributes:
        input: (vocabulary, dimension), in the model's dtype and on its device.
        output: the same, of the logits; None where it is the input's (tied).
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
    """A layer's rows; of a table of points their space coordinates, which are what goes on."""
    return getattr(layer, "space", layer.weight).detach()


def row_norms(matrix: Tensor, less: Tensor | None = None) -> Tensor:
    """The norm of each row, less a row where one is given; float32, on the processor.

    Args:
        matrix: (rows, dimension), in any dtype.
        less: (dimension,).
    """
    found = []
    for part in matrix.split(max(1, CHUNK // matrix.shape[1])):
        rows = part.float() if less is None else part.float() - less
        found.append(torch.linalg.vector_norm(rows, dim=1).cpu())
    return torch.cat(found)


@torch.inference_mode()
def input_scale(model: Any, token: int) -> float | None:
    """What the model multiplies its input embedding by: sqrt(dimension) in Gemma, 1 in LLaMA.

    Found by trying, since no configuration says it. None where what enters the first layer is no
    multiple of the embedding, as where positions are added to it.

    Args:
        model: a causal language model.
        token: to try it with.
    """
    row = _table(model.get_input_embeddings())[token].float()
    given = torch.tensor([[token]], device=row.device)
    entered = model(input_ids=given, output_hidden_states=True).hidden_states[0][0, 0].float()
    scale = float(entered @ row / (row @ row))
    apart = torch.linalg.vector_norm(entered - scale * row)
    return scale if apart <= PARALLEL * torch.linalg.vector_norm(entered) else None


def in_front(tokenizer: Any) -> int | None:
    """The type that a tokenizer puts before a text, None where it puts none there."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    ids = tokenizer("a")["input_ids"]
    return ids[0] if ids[0] != bare[0] else None
