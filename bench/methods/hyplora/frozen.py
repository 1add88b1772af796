"""What HypLoRA's update needs in inference, computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bench.methods.hyplora.gate import (
    TINY,
    full_precision,
    gram,
    scalar_dtype,
    scalars,
    token_norm,
)


@dataclass(frozen=True)
class Frozen:
    """What an update needs besides x and A, as long as B, K and s do not change.

    Attributes:
        B: ``(m, r)``.
        K: curvature parameter, one element.
        s: norm scale.
        unit: ``|s| sqrt(K)``.
    """

    B: Tensor
    K: Tensor
    s: float
    unit: float

    # A variant reads one of these two.
    @cached_property
    def gram(self) -> Tensor:
        """``B^T B``, ``(r, r)`` in :func:`scalar_dtype`."""
        return gram(self.B)

    @cached_property
    def root(self) -> Tensor:
        """``(r, r)`` with ``|root h| = |B h|``: R of B's QR decomposition.

        Unlike the Gram matrix it does not square B's condition number.
        """
        with full_precision(self.B.device):
            return torch.linalg.qr(self.B.to(scalar_dtype(self.B)), mode="r").R

    def gates(self, x: Tensor, h: Tensor, max_radius: float) -> Tensor:
        """The gate ``(..., 1)``."""
        wide = self.root.dtype
        lengths = torch.linalg.vector_norm(h.to(wide) @ self.root.mT, dim=-1, keepdim=True)
        _, S, _, P = scalars(token_norm(x).to(wide), lengths, self.unit, max_radius)
        return S * P / self.s

    def few_gates(self, x: Tensor, h: Tensor, max_radius: float) -> list[float]:
        """The gates as numbers, by Python's scalar functions.

        On a CPU a small kernel costs more than the arithmetic of a token in Python.
        """
        lengths = torch.linalg.vector_norm(h.to(self.root.dtype) @ self.root.mT, dim=-1)
        gates = []
        for norm, length in zip(
            token_norm(x).flatten().tolist(), lengths.flatten().tolist(), strict=True
        ):
            rho = max(norm / self.unit, TINY)
            S = math.sinh(min(rho, max_radius)) / rho
            n = max(S * length / self.unit, TINY)
            gates.append(S * math.asinh(n) / (n * self.s))
        return gates


class FrozenCache:
    """Caches :class:`Frozen` while B, K and s are the same tensors, unchanged.

    A version counter changes with optimiser steps, ``copy_`` and ``load_state_dict``, but not with
    writes through ``.data``, so the layer also clears the cache in ``train()`` and ``eval()``.
    """

    def __init__(self) -> None:
        self._entry: tuple[tuple[Tensor, ...], tuple[tuple[int, ...], ...], Frozen] | None = None

    def __reduce__(self):
        # copies and pickles of a model start with an empty cache
        return FrozenCache, ()

    def clear(self) -> None:
        """Empty the cache."""
        self._entry = None

    def get(
        self, B: Tensor, raw: Tensor, s: Tensor, curvature: Callable[[Tensor], Tensor]
    ) -> Frozen | None:
        """The values of ``B (m, r)``, ``K = curvature(raw)`` and ``s``; None if not cacheable."""
        tensors = (B, raw, s)
        if torch.compiler.is_compiling() or any(
            # a sharded tensor has no own storage, an inference tensor no version counter
            type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.is_inference()
            for tensor in tensors
        ):
            return None
        # the entry holds the tensors, so that no other tensor can have their addresses
        key = tuple((id(tensor), tensor.data_ptr(), tensor._version) for tensor in tensors)
        if self._entry is None or self._entry[1] != key:
            with torch.no_grad(), full_precision(B.device):
                K, scale = curvature(raw), s.item()
                unit = abs(scale) * math.sqrt(max(K.item(), 0.0))
                frozen = Frozen(B.detach(), K, scale, unit)
            self._entry = (tensors, key, frozen)
        return self._entry[2]
