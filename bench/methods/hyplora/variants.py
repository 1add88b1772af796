"""The variants of HypLoRA in the gate form; ``reference.py`` has the literal form of each.

- ``rotation``: A and B act on the space part, times are recomputed; see ``gate.py``
- ``boost``: A and B act on time and space, so they have an additional first column
- ``tangent``: A and B act on the tangent vector: ``log_o(exp_o(B A v)) = B A v``
- ``authors``: the authors' public code, whose points leave the hyperboloid unless K = 1
- ``authors_simplified``: its stereographic form
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.geometry.lorentz import asinhc
from bench.methods.hyplora.gate import (
    autocasting,
    exp_factor,
    full_precision,
    gate,
    gram,
    quadratic,
    token_norm,
)
from bench.methods.hyplora.update import rotation_update


def raw_from_curvature(curvature: float) -> float:
    """The raw parameter ``log(expm1(K))``, whose softplus is K, without overflow."""
    return curvature + math.log(-math.expm1(-curvature))


@dataclass(frozen=True)
class Variant:
    """The definition of a variant.

    Attributes:
        update: adds the update; arguments and result of :func:`rotation_update`.
        gate: the factor on LoRA's update for each token; arguments and result of :func:`gate`. The
            update of boost has a rank-one term in addition.
        time_columns: number of leading columns for the time: A is ``(r, time_columns + d)``, B is
            ``(m, time_columns + r)``.
        learns_curvature: whether K is trained.
        learns_scale: whether the norm scale is trained; False if it has no effect.
        linear: whether the update is linear in its input and can be merged.
        clamps: whether the radius of a token is clamped to max_radius.
        curvature_from_raw: K from the raw parameter, a tensor of one element.
        raw_is_configured: whether the configured curvature is the raw parameter.
        configured_for: the curvature to configure for an initial K.
    """

    update: Callable[..., Tensor]
    gate: Callable[..., Tensor]
    time_columns: int = 0
    learns_curvature: Literal["configured", "always", "never"] = "configured"
    learns_scale: bool = True
    linear: bool = False
    clamps: bool = True
    curvature_from_raw: Callable[[Tensor], Tensor] = F.softplus
    raw_is_configured: bool = False
    configured_for: Callable[[float], float] = lambda K: K


def _adding(delta: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``Variant.update`` from a function that computes the update alone, ``(..., m)``."""

    def update(result, x, dropped, A, *rest, frozen=None, **options) -> Tensor:
        if not autocasting(x.device):  # which sets the dtype itself
            dropped = dropped.to(A.dtype)
        gram_B = None if frozen is None else frozen.gram
        return (result + delta(x, dropped, A, *rest, gram_B=gram_B, **options)).to(result.dtype)

    return update


@_adding
def boost_update(x, dropped, A, B, K, s, *, max_radius, scaling, gram_B=None) -> Tensor:
    """``(alpha/r) psi(n) B [y_t; y_s]`` with ``y_s = A [p_t; p_s]`` and ``n = |B y|``."""
    h = F.linear(dropped, A[:, 1:])
    y, psi, _ = _boost_parts(x, h, A[:, 0], B, K, s, max_radius, gram_B)
    return F.linear((psi * scaling * y).to(h.dtype), B)


def boost_gate(
    x: Tensor, A: Tensor, B: Tensor, K: Tensor, s: Tensor, max_radius: float = 12.0
) -> Tensor:
    """``c psi`` of each token."""
    h = F.linear(x.to(A.dtype), A[:, 1:])
    _, psi, c = _boost_parts(x, h, A[:, 0], B, K, s, max_radius, None)
    return (c * psi).squeeze(-1)


def _boost_parts(
    x: Tensor,
    h: Tensor,
    a_t: Tensor,
    B: Tensor,
    K: Tensor,
    s: Tensor,
    max_radius: float,
    gram_B: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The point ``y (..., 1 + r)`` behind A, and psi and c, each ``(..., 1)``."""
    gram_B = gram(B) if gram_B is None else gram_B
    norm, K, s = (t.to(gram_B.dtype) for t in (token_norm(x), K, s))
    c = exp_factor(norm, K, s, max_radius)
    p_t = ((c * norm).square() + K).sqrt()
    y_s = c * h.to(gram_B.dtype) + p_t * a_t.to(gram_B.dtype)
    y = torch.cat([(y_s.square().sum(-1, keepdim=True) + K).sqrt(), y_s], dim=-1)
    return y, asinhc(quadratic(y, gram_B) / K), c


@_adding
def tangent_update(x, dropped, A, B, K, s, *, max_radius, scaling, gram_B=None) -> Tensor:
    """``(alpha/r) B A x / s``, LoRA with a learnable scale."""
    h = F.linear(dropped, A)
    return F.linear(h * (scaling / s).to(h.dtype), B)


def tangent_gate(
    x: Tensor, A: Tensor, B: Tensor, K: Tensor, s: Tensor, max_radius: float = 12.0
) -> Tensor:
    """``1/s`` for each token."""
    return (torch.ones_like(token_norm(x)) / s).squeeze(-1)


def _authors_factor(norm: Tensor, q: Tensor, K: Tensor, s: Tensor, max_radius: float) -> Tensor:
    """``c sqrt(K) a(theta) / |u|`` from ``|x|`` and ``q = |B A x|^2``.

    Their time is ``sqrt(|u|^2 + 1/K)``, with 1/K instead of K, and ``theta = time / sqrt(K)``. For
    K > 1 there is a dead zone theta < 1, in which the update has a constant length. Their bounds:
    norms from 1e-7, ``theta - 1`` from 1e-6, and arccosh from 1.01.
    """
    c = exp_factor(norm, K, s, max_radius)
    u2 = c * c * q
    u = u2.clamp_min(1e-14).sqrt()
    theta = (u2 + 1 / K).sqrt() / K.sqrt()
    near = (2 * (theta - 1).clamp_min(1e-6)).sqrt()
    far = theta.clamp_min(1.01).acosh()
    return c * K.sqrt() * torch.where(theta >= 1.01, far, near) / u


def _simplified_factor(norm: Tensor, q: Tensor, k: Tensor, s: Tensor, max_radius: float) -> Tensor:
    """``c / (1 + sqrt|k| sqrt(|u|^2 + k))`` with ``c = 2 / (1 + k |x|^2)``.

    ``1 + k |x|^2`` is the projection of a sphere; that of a hyperboloid has a minus. Their k is
    unconstrained. For ``|u|^2 + k < 0`` their code gives NaN; here the root is 0.
    """
    c = 2 / (1 + k * norm.square())
    rooted = c * c * q + k
    xi = torch.where(rooted > 0, rooted, 1.0).sqrt() * (rooted > 0)
    return c / (1 + k.abs().sqrt() * xi)


def _gated(factor: Callable[..., Tensor]) -> dict[str, Callable[..., Tensor]]:
    """The entries of a variant whose gate is a function of ``|x|`` and ``|B A x|^2``."""

    def token_gate(x, h, B, K, s, max_radius, gram_B=None) -> Tensor:
        gram_B = gram(B) if gram_B is None else gram_B
        q = quadratic(h.to(gram_B.dtype), gram_B)
        norm, K, s = (t.to(gram_B.dtype) for t in (token_norm(x), K, s))
        return factor(norm, q, K, s, max_radius)

    @_adding
    def update(x, dropped, A, B, K, s, *, max_radius, scaling, gram_B=None) -> Tensor:
        # As in the authors' code, dropout comes before the norm, and autocast rounds nothing.
        with full_precision(x.device):
            x, A, B = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (dropped, A, B))
            h = F.linear(x, A)
            scale = token_gate(x, h, B, K, s, max_radius, gram_B) * scaling
            return F.linear(h * scale.to(h.dtype), B)

    def gate(x, A, B, K, s, max_radius=12.0) -> Tensor:
        return token_gate(x, F.linear(x.to(A.dtype), A), B, K, s, max_radius).squeeze(-1)

    return {"update": update, "gate": gate}


# As the authors' code does for k. It acts on the gradient of each micro-batch, before these are
# added, so that the number of micro-batches changes results of the variant "authors".
class _ClippedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raw: Tensor) -> Tensor:
        return raw.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.clamp(-0.01, 0.01)


VARIANTS: dict[str, Variant] = {
    "rotation": Variant(rotation_update, gate),
    "boost": Variant(boost_update, boost_gate, time_columns=1),
    "tangent": Variant(
        tangent_update, tangent_gate, learns_curvature="never", linear=True, clamps=False
    ),
    "authors": Variant(
        **_gated(_authors_factor),
        learns_curvature="always",
        curvature_from_raw=lambda raw: F.softplus(_ClippedGradient.apply(raw)) + 1e-6,
        configured_for=lambda K: raw_from_curvature(K - 1e-6),
        raw_is_configured=True,
    ),
    "authors_simplified": Variant(
        **_gated(_simplified_factor),
        learns_curvature="always",
        learns_scale=False,
        clamps=False,
        curvature_from_raw=lambda raw: raw,
        raw_is_configured=True,
    ),
}
