"""What every linear layer of a model is given: where the norms vary, and how tree-like it is.

HypLoRA's gate depends on a token by its norm alone, until training moves B. Behind a norm all
tokens are about as long, and the gate is a constant, which is another alpha of LoRA. It can do more
where norms vary, as in front of the layer that leads out of an MLP, which no norm precedes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    """HypLoRA's gate as training finds it, at B = 0 and with the norm scale sqrt(d).

    Attributes:
        curvature: K.
        mean: over tokens, without the factor alpha/r.
        variation: coefficient of variation, standard deviation over mean.
    """

    curvature: float
    mean: float
    variation: float


@dataclass(frozen=True)
class LayerInputs:
    """The inputs of one layer over all tokens of a sample.

    Attributes:
        layer: its name in the base model.
        module: its type, the last part of that name.
        block: the number of the block that it stands in, from 0.
        tokens: how many there were.
        rms_mean: of the tokens' RMS, ``|x| / sqrt(d)``.
        rms_median: likewise.
        rms_sd: their standard deviation.
        rms_variation: coefficient of variation, ``rms_sd / rms_mean``.
        rms_largest: the largest RMS.
        gates: a new HypLoRA adapter's, for each curvature.
        delta: relative delta-hyperbolicity at the first token, mean over prompts; None where no
            prompt brought four tokens.
        data_curvature: K that goes with it, ``curvature=auto``.
        adapter_curvature: K of the layer's HypLoRA adapter; None where it has none.
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
    told: Callable[[int], object] = lambda count: None,
) -> list[LayerInputs]:
    """Measure what the linear layers of a model's blocks are given.

    Of a layer one number a token is kept, and one a prompt, so that the size of the model does not
    matter.

    Args:
        model: a causal language model, the base as it is or with an adapter of any kind. It runs in
            eval mode, and is left as it was.
        prompts: token ids, each prompt run on its own.
        curvatures: K's to give the gate for.
        max_radius: where the gate's radius is clamped.
        told: called with 1 after each prompt.

    Returns:
        One for each layer, in the model's order; adapted ones under their name in the base. A layer
        that text does not reach, as in a tower for pictures, is left out.

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

    def counted() -> Any:
        for prompt in prompts:
            yield prompt
            told(1)

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
                gates=tuple(_new_gate(of_tokens, K, root, max_radius) for K in curvatures),
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
            continue  # the adapter's own layers, and the one that it wraps
        if isinstance(module, BaseTunerLayer):
            wrapped = name
        elif not isinstance(module, nn.Linear):
            continue
        if _block(name) is not None:
            found[name] = module
    return found


def _block(name: str) -> int | None:
    """The first number in a module's name; None outside of the blocks, as of the output layer."""
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


def _new_gate(norms: Tensor, K: float, s: float, max_radius: float) -> NewGate:
    gates = exp_factor(norms, K, s, max_radius)
    return NewGate(K, gates.mean().item(), _variation(gates))


def _variation(values: Tensor) -> float:
    mean = values.mean().item()
    return values.std(correction=0).item() / mean if mean else 0.0


def _adapter_curvature(layer: nn.Module) -> float | None:
    if not isinstance(layer, HypLoraLinear):
        return None
    return layer.known_curvature(layer.active_adapters[0])
