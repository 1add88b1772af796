"""Dropout whose masks depend on seed, step, row and layer alone, however a step is split."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Draws:
    """The rows of the current forward pass; `keys` has a random number for each, int32, (rows,)."""

    used = False  # whether the model has dropout
    keys: Tensor

    def choose(self, seed: int, step: int, rows: Iterable[int], device: torch.device) -> None:
        """Set the rows by their places in the step."""
        if not self.used:
            return
        digests = (hashlib.sha256(f"{seed} {step} {row}".encode()).digest() for row in rows)
        keys = [int.from_bytes(digest[:4], signed=True) for digest in digests]
        self.keys = torch.tensor(keys, dtype=torch.int32).to(device, non_blocking=True)


class RowDropout(nn.Module):
    """Dropout of the chosen rows; the input is (rows, ..., d) or (rows * tokens, d).

    A hash of row and coordinates decides whether an element is dropped. Unlike a generator's
    numbers, it does not depend on padding, other rows or the device. The exception is an adapted
    output layer: its input starts at the first target of the micro-batch, so that coordinates
    depend on the other rows.
    """

    def __init__(self, p: float, name: str, draws: Draws) -> None:
        super().__init__()
        self.p, self.layer, self.draws = p, zlib.crc32(name.encode()) - 2**31, draws

    def forward(self, x: Tensor) -> Tensor:
        """The input with dropped elements, scaled."""
        if not self.training:
            return x
        keys = self.draws.keys
        shape = x.shape if x.ndim > 2 else (len(keys), len(x) // len(keys), x.shape[-1])
        if shape[0] != len(keys) or math.prod(shape) != x.numel():
            return nn.functional.dropout(x, self.p)  # tokens of some rows, as a mixture routes them
        hashed = _mix(keys ^ self.layer)
        for size in shape[1:]:
            places = torch.arange(1, size + 1, dtype=torch.int32, device=x.device)
            hashed = _mix(hashed[..., None] ^ _mix(places))
        dropped = (hashed & 0xFFFFFF) < round(self.p * 2**24)
        return x.masked_fill(dropped.view(x.shape), 0.0) / (1.0 - self.p)


def _mix(h: Tensor) -> Tensor:
    """The finaliser of MurmurHash3 for each number, int32; it keeps its argument."""
    h = h ^ (h >> 16 & 0xFFFF)  # `>>` repeats the sign
    h.mul_(-0x7A143595).bitwise_xor_(h >> 13 & 0x7FFFF)
    h.mul_(-0x3D4D51CB).bitwise_xor_(h >> 16 & 0xFFFF)
    return h


@contextmanager
def row_dropout(model: Any, draws: Draws) -> Iterator[None]:
    """Replace the dropout modules of a model."""
    replaced = {n: m for n, m in model.named_modules() if type(m) is nn.Dropout and 0 < m.p < 1}
    draws.used = bool(replaced)
    for name, module in replaced.items():
        model.set_submodule(name, RowDropout(module.p, name, draws).train(module.training))
    try:
        yield
    finally:
        for name, module in replaced.items():
            model.set_submodule(name, module)
