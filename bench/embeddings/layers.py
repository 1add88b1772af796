"""Inputs of every linear layer of a model: the variation of their norms, and their delta.

Before training moves B, HypLoRA's gate depends on a token's norm alone. After a norm layer all
tokens have nearly one norm, and the gate is a constant factor, which LoRA's alpha is too. It varies
only where norms do, as at `down_proj`, which no norm layer precedes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from bench.methods.hyplora import HypLoraLinear
from bench.methods.hyplora.curvature import DeltaMeter, data_driven_curvature
from bench.methods.hyplora.gate import exp_factor, token_norm
from bench.methods.inputs import see_inputs

CURVATURES = (0.1, 0.5, 1.0, 2.0)  # the paper's


@dataclass(frozen=True)
class NewGate:
    """HypLoRA's gate before training (B = 0, norm scale sqrt(d)) over tokens, without alpha/r.

    `variation` is the coefficient of variation.
    """

    curvature: float
    mean: float
    variation: float


@dataclass(frozen=True)
class LayerInputs:
    """The inputs of one layer over all tokens of a sample.

    Attributes:
        layer: its name in the base model, whose last part is `module`.
        rms_mean: of the tokens' RMS, ``|x| / sqrt(d)``; also `rms_median`, `rms_sd`,
            `rms_variation` (coefficient of variation) and `rms_largest`.
        gates: of a new HypLoRA adapter, for each curvature.
        delta: relative delta-hyperbolicity at the first token, mean over prompts; None if no
            prompt has four tokens.
        data_curvature: the K of ``curvature=auto`` for it.
        adapter_curvature: K of the layer's HypLoRA adapter; None without one.
    """

    layer: str
    module: str
    block: int
    tokens: int
    rms_mean: float
    rms_median: float
    rms_sd: float
    rms_variation: float
    rms_largest: float
    gates: tuple[NewGate, ...]
    delta: float | None
    data_curvature: float | None
    adapter_curvature: float | None


def layer_inputs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    curvatures: Sequence[float] = CURVATURES,
    max_radius: float = 12.0,
    progress: Callable[[int], object] = lambda count: None,
) -> list[LayerInputs]:
    """Measure the inputs of the linear layers of a model's blocks.

    Memory does not depend on the model's width: one number per token and layer is kept.

    Args:
        model: a causal language model, with an adapter of any kind or without. It runs in eval
            mode, and its training mode is restored.
        prompts: token ids, run one prompt at a time.
        progress: called with 1 after each prompt.

    Returns:
        One for each layer, in the model's order, by its name in the base. Layers that text does
        not reach, as in a vision tower, are left out.

    Raises:
        ValueError: a layer's input is not finite; the message names it.
    """
    layers = linear_layers(model)
    norms: dict[str, list[Tensor]] = {name: [] for name in layers}
    widths: dict[str, int] = {}
    meter = DeltaMeter()

    def see(name: str, x: Tensor) -> None:
        widths[name] = x.shape[-1]
        norms[name].append(token_norm(x).flatten().double().cpu())
        meter.see(name, x)

    def counted() -> Iterator[Sequence[int]]:
        for prompt in prompts:
            yield prompt
            progress(1)

    def new_gate(norms: Tensor, K: float, s: float) -> NewGate:
        gates = exp_factor(norms, K, s, max_radius)
        return NewGate(K, gates.mean().item(), _variation(gates))

    see_inputs(model, layers, counted(), see)
    found = []
    for name in (name for name, seen in norms.items() if seen):
        of_tokens, root, delta = torch.cat(norms[name]), math.sqrt(widths[name]), meter.mean(name)
        rms = of_tokens / root
        found.append(
            LayerInputs(
                layer=name,
                module=name.rpartition(".")[2],
                block=_block(name) or 0,
                tokens=rms.numel(),
                rms_mean=rms.mean().item(),
                rms_median=rms.median().item(),
                rms_sd=rms.std(correction=0).item(),
                rms_variation=_variation(rms),
                rms_largest=rms.max().item(),
                gates=tuple(new_gate(of_tokens, K, root) for K in curvatures),
                delta=delta,
                data_curvature=None if delta is None else data_driven_curvature(delta),
                adapter_curvature=_adapter_curvature(layers[name]),
            )
        )
    return found


def linear_layers(model: Any) -> dict[str, nn.Module]:
    """The linear layers of a model's blocks by their names in the base, adapted ones as wrapped."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    found: dict[str, nn.Module] = {}
    wrapped = None
    for name, module in base.named_modules():
        if wrapped is not None and name.startswith(f"{wrapped}."):
            continue  # inside of an adapted layer
        if isinstance(module, BaseTunerLayer):
            wrapped = name
        elif not isinstance(module, nn.Linear):
            continue
        if _block(name) is not None:
            found[name] = module
    return found


def _block(name: str) -> int | None:
    """The first number in a module's name; None outside of the blocks."""
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


def _variation(values: Tensor) -> float:
    mean = values.mean().item()
    return values.std(correction=0).item() / mean if mean else 0.0


def _adapter_curvature(layer: nn.Module) -> float | None:
    if not isinstance(layer, HypLoraLinear):
        return None
    return layer.curvature_value(layer.active_adapters[0])
