"""The norm of a HELM: root mean square, of the space coordinates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpaceRMSNorm(nn.Module):
    """`g s / sqrt(mean(s^2) + eps)`; the point's time coordinate follows from the result.

    Args:
        width: space coordinates.
        eps: under the root.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, space: Tensor) -> Tensor:
        """The normed space coordinates, `(..., n)`."""
        # one dtype, for which there is one kernel; under autocast these two may differ
        weight = self.weight.to(space.dtype)
        return F.rms_norm(space, weight.shape, weight, self.eps)
