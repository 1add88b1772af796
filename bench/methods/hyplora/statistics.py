"""Statistics of HypLoRA's gates over the tokens of a sample.

If ``|x|`` is nearly the same for all tokens, as after an RMSNorm, the gate is nearly constant, and
HypLoRA is LoRA with another alpha.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.errors import warn_once
from bench.methods.hyplora.layer import hyplora_layers
from bench.methods.inputs import see_inputs

_log = logging.getLogger(__name__)

_MANY = 0.1  # share of clamped tokens that is warned of
_FAR = 10.0  # times larger or smaller than LoRA's scale


@dataclass(frozen=True)
class GateStatistics:
    """The gates of one layer over all tokens of a sample, without the factor alpha/r.

    Attributes:
        layer: the layer's name in the base model.
        module: its type, the last part of that name.
        tokens: number of tokens.
        mean: mean gate.
        median: median gate.
        variation: coefficient of variation, standard deviation over mean.
        largest: the largest gate.
        clamped: share of the tokens beyond max_radius, 0 to 1.
        curvature: the layer's current K; None for a variant without curvature.
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
    """Measure the gates of a model's HypLoRA layers; layers that no prompt reaches are left out.

    Args:
        model: a causal language model; without HypLoRA layers the result is empty.
        prompts: token ids; each prompt is run on its own, without padding.
        adapter_name: name of the adapter.
    """
    layers = hyplora_layers(model)
    if not layers or not prompts:
        return []
    measured: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def see(name: str, x: Tensor) -> None:
        gates, clamped = (f(adapter_name, x) for f in (layers[name].gate, layers[name].clamped))
        measured[name].append((gates.flatten().double().cpu(), clamped.flatten().cpu()))

    see_inputs(model, layers, prompts, see)
    return [
        _summary(name, layers[name].curvature_value(adapter_name), *zip(*parts, strict=True))
        for name, parts in measured.items()
        if parts
    ]


def warn_of_gates(statistics: Sequence[GateStatistics]) -> None:
    """Warn of layers that clamp many tokens, and of layers far from LoRA's scale.

    The gate is the factor by which LoRA's update is scaled, at the same alpha.
    """
    far = [gates.median for gates in statistics if not 1 / _FAR <= gates.median <= _FAR]
    if far:
        warn_once(  # for all seeds of a sweep
            f"{len(far)} of {len(statistics)} layers start at {min(far):.2g} to {max(far):.2g} "
            "times LoRA's scale at the same alpha: a learning rate or method.lora_alpha "
            "chosen for LoRA does not suit them"
        )
    layers = [gates for gates in statistics if gates.clamped > _MANY]
    if layers:
        worst = max(layers, key=lambda gates: gates.clamped)
        _log.warning(
            "%d of %d layers clamp more than %.0f%% of their tokens at max_radius, so the update "
            "no longer depends on their norms. Worst: %.0f%% in %s (K = %.3g). Give a larger "
            "curvature (for single layers: method.curvature_pattern) or method.norm_scale",
            len(layers),
            len(statistics),
            100 * _MANY,
            100 * worst.clamped,
            worst.layer,
            worst.curvature,
        )


def variation(values: Tensor) -> float:
    """The coefficient of variation, 0 for a mean of 0."""
    mean = values.mean().item()
    return values.std(correction=0).item() / mean if mean else 0.0


def _summary(
    layer: str, curvature: float | None, gates: Sequence[Tensor], clamped: Sequence[Tensor]
) -> GateStatistics:
    values = torch.cat(gates)
    return GateStatistics(
        layer=layer,
        module=layer.rpartition(".")[2],
        tokens=values.numel(),
        mean=values.mean().item(),
        median=values.median().item(),
        variation=variation(values),
        largest=values.max().item(),
        clamped=torch.cat(clamped).double().mean().item(),
        curvature=curvature,
    )
