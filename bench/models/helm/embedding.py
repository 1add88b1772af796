"""An embedding of points."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init


class LorentzEmbedding(nn.Embedding):
    """A table of points, `(entries, width + 1)`, time first.

    An ordinary optimiser would move the points off the hyperboloid, with the curvature parameter K:
    use :class:`bench.training.riemannian_adam.RiemannianAdam`.
    """

    def __init__(self, entries: int, width: int, K: float) -> None:
        super().__init__(entries, width + 1)
        self.K = K

    @property
    def space(self) -> Tensor:
        """The points' space coordinates, `(entries, width)`, for studies of embeddings."""
        return self.weight[:, 1:]

    def initialize(self) -> None:
        """Draw points in random directions; for K = 1 at distance 1 from the origin."""
        if getattr(self.weight, "_is_hf_initialized", False):
            return
        with torch.no_grad():
            space = torch.empty_like(self.weight[:, 1:])
            init.normal_(space)
            space = F.normalize(space, dim=-1) * (self.K**0.5) * torch.sinh(space.new_ones(1))
            time = (space.square().sum(-1, keepdim=True) + self.K).sqrt()
            self.weight.copy_(torch.cat([time, space], dim=-1))

    def forward(self, input: Tensor) -> Tensor:
        """Space coordinates, `(..., width)`, of token ids `(...)`."""
        return F.embedding(input, self.weight)[..., 1:]
