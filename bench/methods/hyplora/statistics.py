"""What the gate does on real tokens.

Where ``|x|`` is nearly the same for all tokens, as behind a norm, the gate is nearly a constant,
and HypLoRA is LoRA with another alpha. How much it varies, and where, is therefore part of a
result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.methods.hyplora.layer import HypLoraLinear


@dataclass(frozen=True)
class GateStatistics:
    """The gates of one layer over all tokens of a sample, without the factor alpha/r.

    Attributes:
        layer: the layer's name in the base model.
        module: its type, the last part of that name.
        tokens: how many there were.
        mean: of the gate.
        median: of the gate.
        variation: coefficient of variation, standard deviation over mean.
        largest: the largest gate.
        clamped: share of the tokens beyond max_radius, 0 to 1.
    """

    layer: str
    module: str
    tokens: int
    mean: float
    median: float
    variation: float
    largest: float
    clamped: float


@torch.no_grad()
def gate_statistics(
    model: Any, prompts: Sequence[Sequence[int]], adapter_name: str = "default"
) -> list[GateStatistics]:
    """Measure the gates of a model's HypLoRA layers.

    Args:
        model: a causal language model; one without such layers gives an empty list.
        prompts: token ids, each prompt run on its own, so that no padding is measured.
        adapter_name: the adapter.
    """
    layers = {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, HypLoraLinear)
    }
    if not layers or not prompts:
        return []
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def look(name: str, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, HypLoraLinear)
        gates, clamped = layer.gate(adapter_name, args[0]), layer.clamped(adapter_name, args[0])
        seen[name].append((gates.flatten().double().cpu(), clamped.flatten().cpu()))

    hooks = [layer.register_forward_pre_hook(partial(look, n)) for n, layer in layers.items()]
    training, device = model.training, next(model.parameters()).device
    try:
        model.eval()
        for prompt in prompts:
            model(input_ids=torch.tensor([list(prompt)], device=device), use_cache=False)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return [
        _summary(name, *map(torch.cat, zip(*parts, strict=True))) for name, parts in seen.items()
    ]


def _summary(layer: str, gates: Tensor, clamped: Tensor) -> GateStatistics:
    mean = gates.mean().item()
    return GateStatistics(
        layer=layer,
        module=layer.rpartition(".")[2],
        tokens=gates.numel(),
        mean=mean,
        median=gates.median().item(),
        variation=gates.std(correction=0).item() / mean if mean else 0.0,
        largest=gates.max().item(),
        clamped=clamped.double().mean().item(),
    )
