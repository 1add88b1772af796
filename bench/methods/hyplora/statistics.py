"""What the gate does on real tokens.

Where ``|x|`` is nearly the same for all tokens, as behind a norm, the gate is nearly a constant,
and HypLoRA is LoRA with another alpha. How much it varies, and where, is therefore part of a
result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.methods.hyplora.layer import hyplora_layers
from bench.methods.inputs import see_inputs


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
        curvature: the layer's K at that moment; None for a variant that has none.
    """

    layer: str
    module: str
    tokens: int
    mean: float
    median: float
    variation: float
    largest: float
    clamped: float
    curvature: float | None


@torch.no_grad()
def gate_statistics(
    model: Any, prompts: Sequence[Sequence[int]], adapter_name: str = "default"
) -> list[GateStatistics]:
    """Measure the gates of a model's HypLoRA layers.

    A layer that no prompt reaches, as in a tower for pictures, has no statistics.

    Args:
        model: a causal language model; one without such layers gives an empty list.
        prompts: token ids, each prompt run on its own, so that no padding is measured.
        adapter_name: the adapter.
    """
    layers = hyplora_layers(model)
    if not layers or not prompts:
        return []
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def see(name: str, x: Tensor) -> None:
        gates, clamped = (f(adapter_name, x) for f in (layers[name].gate, layers[name].clamped))
        seen[name].append((gates.flatten().double().cpu(), clamped.flatten().cpu()))

    see_inputs(model, layers, prompts, see)
    return [
        _summary(
            name,
            layers[name].known_curvature(adapter_name),
            *map(torch.cat, zip(*parts, strict=True)),
        )
        for name, parts in seen.items()
        if parts
    ]


def _summary(layer: str, curvature: float | None, gates: Tensor, clamped: Tensor) -> GateStatistics:
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
        curvature=curvature,
    )
