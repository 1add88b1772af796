"""What HypLoRA's update needs in inference, computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.methods.hyplora.gate import (
    TINY,
    cast,
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

    @cached_property
    def _unit_root(self) -> Tensor:
        """``root / unit`` in float32, or float64 if B is."""
        return (self.root / self.unit).to(torch.promote_types(self.B.dtype, torch.float32))

    @cached_property
    def _numbers(self) -> tuple[Tensor, Tensor]:
        """s and the unit without dimensions, which take half the time of Python numbers."""
        return self._unit_root.new_tensor(self.s), self._unit_root.new_tensor(self.unit)

    def add_to_token(
        self, result: Tensor, x: Tensor, A: Tensor, scaling: float, max_radius: float
    ) -> Tensor:
        """Add the update of one token to ``result`` in place.

        Python numbers are faster than tensors of one element. All tensors are contiguous,
        on a CPU and of the same dtype.
        """
        token, root = x.view(-1), self._unit_root
        h = torch.mv(A, token)
        u = torch.mv(root, cast(h, root.dtype))
        rho = max(torch.linalg.vector_norm(token, dtype=root.dtype).item() / self.unit, TINY)
        S = math.sinh(min(rho, max_radius)) / rho
        n = max(S * torch.linalg.vector_norm(u).item(), TINY)
        result.view(-1).addmv_(self.B, h, alpha=scaling / self.s * S * math.asinh(n) / n)
        return result

    def gates(self, x: Tensor, h: Tensor, max_radius: float) -> Tensor:
        """The gate of each token, ``(..., 1)`` in float32 at least."""
        root, (s, unit) = self._unit_root, self._numbers
        ratio = torch.linalg.vector_norm(F.linear(cast(h, root.dtype), root), dim=-1, keepdim=True)
        _, S, _, P = scalars(token_norm(x).div_(unit), ratio, max_radius)
        return P.mul_(S).div_(s)


class FrozenCache:
    """Caches :class:`Frozen` while B, K and s are the same tensors, unchanged.

    A version counter changes with optimiser steps, ``copy_`` and ``load_state_dict``, but not with
    writes through ``.data``, so the layer also clears the cache in ``train()`` and ``eval()``.
    """

    def __init__(self) -> None:
        self._entry: tuple[Tensor, Tensor, Tensor, tuple[int, ...], Frozen] | None = None

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
        if torch.compiler.is_compiling():
            return None
        entry = self._entry
        # the entry holds the tensors, so that no other tensor can have their identities
        if entry is not None and entry[0] is B and entry[1] is raw and entry[2] is s:
            if entry[3] == _state(B, raw, s):
                return entry[4]
        elif any(
            # a sharded tensor has no own storage, an inference tensor no version counter
            type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.is_inference()
            for tensor in (B, raw, s)
        ):
            return None
        with torch.no_grad(), full_precision(B.device):
            K, scale = curvature(raw), s.item()
            unit = abs(scale) * math.sqrt(max(K.item(), 0.0))
            frozen = Frozen(B.detach(), K, scale, unit)
        self._entry = (B, raw, s, _state(B, raw, s), frozen)
        return frozen


def _state(B: Tensor, raw: Tensor, s: Tensor) -> tuple[int, ...]:
    return (
        B.data_ptr(), B._version, raw.data_ptr(), raw._version, s.data_ptr(), s._version
    )  # fmt: skip
