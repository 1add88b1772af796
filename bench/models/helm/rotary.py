"""HoPE: rotary positions of space coordinates, which leave the time coordinate unchanged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def frequencies(width: int, parameters: Mapping[str, Any]) -> list[float]:
    """Radians per token by which each pair of `width` coordinates is rotated.

    Parameters are `rope_theta`; with `rope_type="yarn"` (arXiv 2309.00071) also `factor`, by which
    low frequencies are divided, and `original_max_position_embeddings`, in which the frequencies
    of the ramp make `beta_fast` to `beta_slow` turns. ValueError for an unknown `rope_type`.
    """
    base = float(parameters.get("rope_theta", 10000.0))
    plain = [base ** (-i / width) for i in range(0, width, 2)]
    kind = parameters.get("rope_type", "default")
    if kind == "default":
        return plain
    if kind != "yarn":
        raise ValueError(f"rope_type must be default or yarn, not {kind!r}")

    def pair_with(turns: float) -> float:
        length = parameters["original_max_position_embeddings"]
        return width * math.log(length / (2 * math.pi * turns)) / (2 * math.log(base))

    low = max(math.floor(pair_with(parameters.get("beta_fast", 32))), 0)
    high = min(math.ceil(pair_with(parameters.get("beta_slow", 1))), width - 1)
    span = max(high - low, 1e-3)
    ramps = (min(max((i - low) / span, 0.0), 1.0) for i in range(len(plain)))
    factor = parameters["factor"]
    return [f * (1 - ramp) + f / factor * ramp for f, ramp in zip(plain, ramps, strict=True)]


class HopeTable(nn.Module):
    """Rotations of positions; arguments as in `frequencies`."""

    def __init__(self, width: int, parameters: Mapping[str, Any]) -> None:
        super().__init__()
        self.frequencies = frequencies(width, parameters)
        # Not a buffer, which would be rounded with a model that is cast to half precision.
        self._by_device: dict[torch.device, Tensor] = {}

    def forward(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """Complex numbers of absolute value 1, `(batch, tokens, 1, width / 2)`.

        `dtype` is that of the tensors to rotate; rotations are in float32 at least.
        """
        device = positions.device
        if device not in self._by_device:
            # In float32, angles of late positions would be inaccurate.
            exact = torch.float32 if device.type == "mps" else torch.float64
            self._by_device[device] = torch.tensor(self.frequencies, dtype=exact, device=device)
        table = self._by_device[device]
        angles = (positions.to(table.dtype).unsqueeze(-1) * table).unsqueeze(-2)
        complex_dtype = torch.complex128 if dtype == torch.float64 else torch.complex64
        return torch.polar(torch.ones_like(angles), angles).to(complex_dtype)


def rotate(space: Tensor, table: Tensor) -> Tensor:
    """Rotate adjacent pairs of coordinates; those beyond the table's width are unchanged.

    `space` and the result are `(batch, tokens, heads, n)`; `table` is that of a `HopeTable`,
    `(batch or 1, tokens, 1, m)` with `2 m <= n`.
    """
    width = 2 * table.shape[-1]
    pairs = space[..., :width].to(table.real.dtype).unflatten(-1, (-1, 2)).contiguous()
    rotated = torch.view_as_real(torch.view_as_complex(pairs) * table).flatten(-2).to(space.dtype)
    return rotated if width == space.shape[-1] else torch.cat([rotated, space[..., width:]], dim=-1)
