"""Curvature from data: one K per layer, from the hyperbolicity of its inputs.

``K = (delta_rel / 0.144)^2``, with 0.144 the relative delta of the Poincaré disk (Khrulkov et al.
2020, Hyperbolic Image Embeddings). ``delta_rel`` is computed for the tokens of each prompt, with
the first token as the base point (as in the HypLoRA paper), and averaged over prompts.

A token with massive activations, often the first, would determine the diameter alone and make K
too small by orders of magnitude. The diameter is therefore clipped at four times that of the other
tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import peft
import torch
from torch import Tensor

from bench.geometry.hyperbolicity import distances, relative_delta
from bench.methods.hyplora.config import AUTO, HypLoraConfig
from bench.methods.hyplora.layer import hyplora_layers
from bench.methods.hyplora.variants import VARIANTS
from bench.methods.inputs import see_inputs

_DISK_DELTA = 0.144  # relative delta of the Poincaré disk, Khrulkov et al. 2020
# Lower bound: K = 0 is not a space. A token of unit RMS has radius 1/sqrt(K) = 12 there, where
# HypLoRA clamps.
_MIN_DELTA = _DISK_DELTA / 12
_MASSIVE = 10  # norm of a token with massive activations, in units of the median norm
_CLIP = 4  # largest diameter, in units of that of the other tokens
_MIN_TOKENS = 4  # any three points are a tree

# the options that select layers
TARGET_OPTIONS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")


def data_driven_curvature(delta: float) -> float:
    """``K = (delta_rel / 0.144)^2``, at least 1/144.

    Args:
        delta: relative delta of a layer's inputs, 0 to 1.
    """
    return (max(delta, _MIN_DELTA) / _DISK_DELTA) ** 2


class DeltaMeter:
    """Measures the mean relative delta of each layer's inputs over prompts, storing only deltas."""

    def __init__(self) -> None:
        self._deltas: dict[str, list[float]] = {}
        self._last: tuple[Tensor, float] | None = None

    def update(self, layer: str, x: Tensor) -> None:
        """Add the input ``(..., d)`` of a layer for one prompt; fewer than 4 tokens are ignored.

        Raises:
            ValueError: the input is not finite.
        """
        points = x.flatten(0, -2)
        if len(points) < _MIN_TOKENS:
            return
        # the projections of a block share their input
        if self._last is None or self._last[0] is not x:
            try:
                self._last = x, clipped_delta(points)
            except ValueError as error:
                raise ValueError(f"the inputs of {layer}: {error}") from error
        self._deltas.setdefault(layer, []).append(self._last[1])

    def mean(self, layer: str) -> float | None:
        """The mean over prompts; None for a layer without inputs."""
        deltas = self._deltas.get(layer)
        return sum(deltas) / len(deltas) if deltas else None


def clipped_delta(points: Tensor) -> float:
    """The relative delta of tokens ``(n, d)``; the diameter is clipped, see the module."""
    matrix = distances(points)
    delta = relative_delta(matrix, metric="precomputed")
    norms = torch.linalg.vector_norm(points.float(), dim=1)
    ordinary = norms <= _MASSIVE * norms.median()
    clipped = _CLIP * matrix[ordinary][:, ordinary].max()
    if 0 < clipped < matrix.max():
        delta = min(1.0, delta * (matrix.max() / clipped).item())
    return delta


@contextmanager
def new_adapter(base: Any, options: Mapping[str, Any]) -> Iterator[Any]:
    """A base with a new HypLoRA adapter of rank 1 (B = 0), which is removed at the end.

    The base's outputs and the random state are unchanged; the base is frozen.

    Args:
        base: the base model.
        options: HypLoRA's options without a rank; at least those that select layers.
    """
    config = HypLoraConfig(task_type="CAUSAL_LM", r=1, **options)
    with torch.random.fork_rng():
        model = peft.get_peft_model(base, config)
        try:
            yield model
        finally:
            model.unload()


def with_curvatures(
    base: Any, options: Mapping[str, Any], prompts: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """A method's options with `curvature="auto"` replaced by one number per layer.

    Args:
        base: the base model, which is left unchanged.
        options: the method's options, with `curvature` and `curvature_pattern`.
        prompts: token ids of the prompts that the deltas are averaged over.

    Raises:
        ValueError: no prompt has 4 tokens, or a layer's inputs are not finite.
    """
    if options.get("curvature") != AUTO:
        return dict(options)
    if not prompts:
        raise ValueError(
            "curvature=auto is measured on validation rows, and there are none (data.validation)"
        )
    longest = max(map(len, prompts))
    if longest < _MIN_TOKENS:
        raise ValueError(
            f"curvature=auto needs a prompt of {_MIN_TOKENS} tokens or more, got at most {longest}"
        )
    meter = DeltaMeter()
    targets = {key: options[key] for key in TARGET_OPTIONS if key in options}
    with new_adapter(base, targets) as model:
        layers = hyplora_layers(model)
        see_inputs(model, layers, prompts, meter.update)
    variant = VARIANTS[options.get("variant", "rotation")]
    # given entries come first, since peft uses the first that matches
    pattern = dict(options.get("curvature_pattern") or {})
    for name in layers:
        delta = meter.mean(name)
        if delta is not None:  # None: no text reaches the layer, as in a vision tower
            pattern.setdefault(name, variant.configured_for(data_driven_curvature(delta)))
    kept = {key: value for key, value in options.items() if key != "curvature"}
    return {**kept, "curvature_pattern": pattern}
