"""Operations that a method adds to a layer: dispatched by PyTorch, and launched on a GPU.

They decide the time of a small step, such as decoding, whose products are short.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from bench.efficiency.cases import Case, build
from bench.efficiency.regimes import REGIMES

LAYER = Case("layer", layer=256, rank=32, lengths=(64,))
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")
# Dispatched, but not computed: views that their schema does not declare, and the choice of a dtype.
FREE = {
    torch.ops.aten._unsafe_view.default,
    torch.ops.aten._reshape_alias.default,
    torch.ops.aten.promote_types.default,
}
BASE = "none"  # the layer itself


class _Counting(TorchDispatchMode):
    """Counts operations that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (func.is_view or func in FREE)
        return func(*args, **(kwargs or {}))


def count_operations(
    methods: tuple[str, ...], dtype: torch.dtype, regime: str, device: torch.device
) -> dict[str, Any]:
    """Operations of one adapted layer in a training step and in decoding one token.

    Args:
        methods: those that a single layer can have.
        regime: of `bench.efficiency.regimes`.

    Returns:
        By method the `operations` of `forward`, `backward` and `decode`, the base layer's own
        included, and on a GPU the `launches` of kernels; that of the layer itself is `none`.
    """
    models = build(LAYER, (BASE, *methods), dtype, device, REGIMES[regime])
    found = {name: _counts(model, dtype, device) for name, model in models.items()}
    return {"dtype": str(dtype).removeprefix("torch."), "regime": regime, "methods": found}


def _counts(model: nn.Module, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    x = torch.randn(1, LAYER.lengths[0], LAYER.layer, device=device, dtype=dtype)
    x.requires_grad_()
    y = model.train()(x)  # once before, for what is prepared in the first call
    grad = torch.ones_like(y)
    y.backward(grad)
    # As an optimiser step does; else gradients are added to those of the call before.
    model.zero_grad()
    x.grad = None
    outputs: list[Tensor] = []
    counts = {
        "forward": _count(lambda: outputs.append(model(x)), device),
        "backward": _count(lambda: outputs[0].backward(grad), device),
    }
    model.eval()
    with torch.no_grad():
        token = x[:, :1].detach()
        model(token)
        counts["decode"] = _count(lambda: model(token), device)
    return {
        "operations": {name: operations for name, (operations, _) in counts.items()},
        "launches": {name: launches for name, (_, launches) in counts.items()},
    }


def _count(work: Callable[[], object], device: torch.device) -> tuple[int, int | None]:
    """The operations of a call, and on a GPU the kernels that it launches."""
    if device.type != "cuda":
        with _Counting() as counting:
            work()
        return counting.count, None
    with _Counting() as counting, profile(activities=[ProfilerActivity.CUDA]) as profiled:
        work()
        torch.cuda.synchronize(device)
    events = profiled.key_averages()
    return counting.count, sum(event.count for event in events if event.key in LAUNCHES)
