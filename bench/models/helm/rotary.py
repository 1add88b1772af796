"""HoPE: positions as rotations of space coordinates, which leave the time coordinate alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def frequencies(width: int, parameters: Mapping[str, Any]) -> list[float]:
    """Radians by which each pair of coordinates turns from one token to the next.

    Args:
        width: rotated coordinates, even.
        parameters: `rope_theta`; with `rope_type="yarn"`, the low frequencies are divided by
            `factor`, with a ramp between those that turn `beta_fast` and `beta_slow` times within
            `original_max_position_embeddings` tokens (arXiv 2309.00071).

    Raises:
        ValueError: an unknown `rope_type`.
    """
    base = float(parameters.get("rope_theta", 10000.0))
    plain = [base ** (-i / width) for i in range(0, width, 2)]
    kind = parameters.get("rope_type", "default")
    if kind == "default":
        return plain
    if kind != "yarn":
        raise ValueError(f"rope_type must be default or yarn, not {kind!r}")

    def pair_that_turns(times: float) -> float:
        length = parameters["original_max_position_embeddings"]
        return width * math.log(length / (2 * math.pi * times)) / (2 * math.log(base))

    low = max(math.floor(pair_that_turns(parameters.get("beta_fast", 32))), 0)
    high = min(math.ceil(pair_that_turns(parameters.get("beta_slow", 1))), width - 1)
    span = max(high - low, 1e-3)
    found = []
    for i, frequency in enumerate(plain):
        ramp = min(max((i - low) / span, 0.0), 1.0)
        found.append(frequency * (1 - ramp) + frequency / parameters["factor"] * ramp)
    return found


class HopeTable(nn.Module):
    """The rotations of a batch's positions.

    Args:
        width: rotated coordinates, even.
        parameters: as of `frequencies`.
    """

    def __init__(self, width: int, parameters: Mapping[str, Any]) -> None:
        super().__init__()
        self.frequencies = frequencies(width, parameters)
        # No buffer: a model that is cast to half precision would round it.
        self._on: dict[torch.device, Tensor] = {}

    def forward(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """Complex numbers of length one, `(batch, tokens, 1, width / 2)`.

        Args:
            positions: `(batch, tokens)`.
            dtype: of the tensors to be rotated; the rotation is done in float32 at least.
        """
        device = positions.device
        if device not in self._on:
            # Angles of late positions have lost digits in float32; these few numbers are made once
            # for all layers.
            exact = torch.float32 if device.type == "mps" else torch.float64
            self._on[device] = torch.tensor(self.frequencies, dtype=exact, device=device)
        table = self._on[device]
        angles = (positions.to(table.dtype).unsqueeze(-1) * table).unsqueeze(-2)
        wide = torch.complex128 if dtype == torch.float64 else torch.complex64
        return torch.polar(torch.ones_like(angles), angles).to(wide)


def rotate(space: Tensor, table: Tensor) -> Tensor:
    """Turn adjacent pairs of coordinates; those beyond the table's width stay.

    Args:
        space: `(batch, tokens, heads, n)`.
        table: `(batch or 1, tokens, 1, m)`, with `2 m <= n`.

    Returns:
        `(batch, tokens, heads, n)`, in the dtype of `space`.
    """
    width = 2 * table.shape[-1]
    turned = space[..., :width]
    pairs = turned.to(table.real.dtype).unflatten(-1, (-1, 2)).contiguous()
    turned = torch.view_as_real(torch.view_as_complex(pairs) * table).flatten(-2).to(space.dtype)
    return turned if width == space.shape[-1] else torch.cat([turned, space[..., width:]], dim=-1)
