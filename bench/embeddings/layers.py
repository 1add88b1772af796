"""Inputs of every linear layer of a model: the variation of their norms, and their delta.

A new HypLoRA gate depends on a token's norm alone. After a norm layer it is nearly a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from bench.methods.hyplora import HypLoraLinear
from bench.methods.hyplora.curvature import DeltaMeter, data_driven_curvature
from bench.methods.hyplora.gate import exp_factor, token_norm
from bench.methods.hyplora.statistics import variation
from bench.methods.inputs import see_inputs

CURVATURES = (0.1, 0.5, 1.0, 2.0)  # the paper's


def layer_inputs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    progress: Callable[[int], object] = lambda count: None,
) -> list[dict[str, Any]]:
    """Measure the inputs of the linear layers of a model's blocks over all tokens of prompts.

    Memory does not depend on the model's width: one number per token and layer is kept.

    Args:
        model: a causal language model, with an adapter of any kind or without. It runs in eval
            mode, and its training mode is restored.
        prompts: token ids, run one prompt at a time.
        progress: called with 1 after each prompt.

    Returns:
        For each layer that text reaches, in the model's order:

        - `layer`, its name in the base, whose last part is `module`; its `block`; `tokens`.
        - `rms_mean`, `rms_median`, `rms_sd`, `rms_variation` (coefficient of variation) and
          `rms_largest` of the tokens' RMS, ``|x| / sqrt(d)``.
        - `gates`: `mean` and `variation` over tokens of HypLoRA's gate before training (B = 0, norm
          scale sqrt(d)), without alpha/r, for each `curvature`.
        - `delta`, relative, at the first token, mean over prompts, and `data_curvature`, the K of
          ``curvature=auto``; None if no prompt has four tokens.
        - `adapter_curvature`: K of the layer's HypLoRA adapter; None without one.

    Raises:
        ValueError: a layer's input is not finite; the message names it.
    """
    layers = linear_layers(model)
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    widths: dict[str, int] = {}
    meter = DeltaMeter()

    def see(name: str, x: Tensor) -> None:
        widths[name] = x.shape[-1]
        seen[name].append(token_norm(x).flatten().double().cpu())
        meter.update(name, x)

    def counted() -> Iterator[Sequence[int]]:
        for prompt in prompts:
            yield prompt
            progress(1)

    see_inputs(model, layers, counted(), see)
    found = []
    for name, width in ((name, widths[name]) for name in layers if name in widths):
        norms, root, delta = torch.cat(seen[name]), math.sqrt(width), meter.mean(name)
        rms, gates = norms / root, {K: exp_factor(norms, K, root) for K in CURVATURES}
        found.append(
            {
                "layer": name,
                "module": name.rpartition(".")[2],
                "block": _block(name),
                "tokens": rms.numel(),
                "rms_mean": rms.mean().item(),
                "rms_median": rms.median().item(),
                "rms_sd": rms.std(correction=0).item(),
                "rms_variation": variation(rms),
                "rms_largest": rms.max().item(),
                "gates": [
                    {"curvature": K, "mean": gate.mean().item(), "variation": variation(gate)}
                    for K, gate in gates.items()
                ],
                "delta": delta,
                "data_curvature": None if delta is None else data_driven_curvature(delta),
                "adapter_curvature": _adapter_curvature(layers[name]),
            }
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


def _adapter_curvature(layer: nn.Module) -> float | None:
    if not isinstance(layer, HypLoraLinear):
        return None
    return layer.curvature_value(layer.active_adapters[0])
