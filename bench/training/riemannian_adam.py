"""Adam for tables of points on the hyperboloid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bench.geometry.lorentz import inner, project
from bench.geometry.tangent import expmap, time_flipped, to_tangent, transport


class RiemannianAdam(torch.optim.Optimizer):
    """Adam whose steps are geodesics of the Lorentz model (Becigneul and Ganea 2019).

    The first moment averages Riemannian gradients and is parallel-transported to the new point; the
    second averages their squared Lorentz norms, one number per point. Rows without gradient and
    momentum do not move. There is no weight decay, which would leave the hyperboloid.

    Args:
        params: tensors `(..., n + 1)` of points, time first, or groups of them.
        lr: approximate geodesic length of a step.
        K: curvature parameter.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 4e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        K: float = 1.0,
    ) -> None:
        if not (lr >= 0 and eps >= 0 and K > 0 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(
                f"lr and eps must not be negative, K positive, betas in [0, 1): not {lr=}, {eps=}, "
                f"{K=}, {betas=}"
            )
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "K": K})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update every tensor that has a gradient; the closure recomputes loss and gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for points in group["params"]:
                if points.grad is not None:
                    self._move(points, points.grad, group)
        return loss

    def _move(self, points: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, K, (beta1, beta2) = self.state[points], group["K"], group["betas"]
        if not state:
            state["step"] = 0
            wide = torch.promote_types(points.dtype, torch.float32)  # the maps compute in it
            state["exp_avg"] = torch.zeros_like(points, dtype=wide)
            state["exp_avg_sq"] = torch.zeros_like(points[..., 0], dtype=wide)
        state["step"] += 1
        step, first, second = state["step"], state["exp_avg"], state["exp_avg_sq"]
        ascent = to_tangent(points, time_flipped(grad), K)
        first.lerp_(ascent, 1 - beta1)
        # The form is positive on tangent vectors up to rounding.
        second.lerp_(inner(ascent, ascent).clamp_min(0), 1 - beta2)
        scale = (second / (1 - beta2**step)).sqrt() + group["eps"]
        direction = first / (1 - beta1**step) / scale.unsqueeze(-1)
        moved = expmap(points, -group["lr"] * direction, K)
        first.copy_(to_tangent(moved, transport(points, moved, first, K), K))
        points.copy_(project(moved[..., 1:], K))
