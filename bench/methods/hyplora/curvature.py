"""Curvature from data: a K for each layer, from how hyperbolic its inputs are.

The less a cloud of points is like a tree, the flatter the space that suits it. For a ball of
curvature ``-c`` Khrulkov et al. 2020 (Hyperbolic Image Embeddings) take
``c = (0.144 / delta_rel)^2``, where 0.144 is the relative delta that they measure of the Poincare
disk. Here the sectional curvature is ``-1/K``, so ``K = (delta_rel / 0.144)^2``.

``delta_rel = 2 delta / diameter`` is taken of each prompt's tokens on its own, and K of the mean
over prompts. The base point of the Gromov products is the prompt's first token, as in the HypLoRA
paper; Khrulkov et al. take the first point, too, so 0.144 belongs to it. The definition's worst
base point gives a delta that is larger, by at most a factor of 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import peft
import torch
from torch import Tensor

from bench.geometry.hyperbolicity import distances, relative_deltas
from bench.methods.hyplora.config import AUTO, HypLoraConfig
from bench.methods.hyplora.layer import hyplora_layers
from bench.methods.hyplora.variants import VARIANTS
from bench.methods.inputs import see_inputs

POINCARE_DISK = 0.144  # its relative delta, Khrulkov et al. 2020
# Below it, a token of unit RMS would be at a radius of 1/sqrt(K) = 12, where HypLoRA clamps: at a
# delta of 0, a tree, K would be 0 and no space at all.
LEAST_DELTA = POINCARE_DISK / 12
FEWEST_TOKENS = 4  # any three points are a tree
WAITING = 1 << 20  # distances that are held until they are measured together

TARGETING = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")


def data_driven_curvature(delta: float) -> float:
    """``K = (delta_rel / 0.144)^2``, at least 1/144.

    Args:
        delta: the relative delta of a layer's inputs, 0 to 1.
    """
    return (max(delta, LEAST_DELTA) / POINCARE_DISK) ** 2


class DeltaMeter:
    """Takes the relative delta of each prompt's tokens as they pass, and keeps that alone."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}
        self._waiting: list[tuple[list[str], Tensor]] = []
        self._last: Tensor | None = None

    def see(self, layer: str, x: Tensor) -> None:
        """Take one prompt's input of one layer, ``(..., d)``; too short a one is passed over.

        Raises:
            ValueError: it holds a NaN or an infinity.
        """
        if self._last is x and self._waiting:  # the projections of a block share their input
            self._waiting[-1][0].append(layer)
            return
        points = x.flatten(0, -2)
        if len(points) < FEWEST_TOKENS:
            return
        try:
            found = distances(points)
        except ValueError as error:
            raise ValueError(f"the inputs of {layer}: {error}") from error
        if sum(matrix.numel() for _, matrix in self._waiting) > WAITING:
            self._measure()
        self._waiting.append(([layer], found))
        self._last = x

    def mean(self, layer: str) -> float | None:
        """The mean over prompts; None for a layer that none reached."""
        self._measure()
        found = self._found.get(layer)
        return sum(found) / len(found) if found else None

    def _measure(self) -> None:
        """Several at a time, since one alone is too little work for a call."""
        matrices = [matrix for _, matrix in self._waiting]
        deltas = relative_deltas(matrices, base_point="first", metric="precomputed")
        for (layers, _), delta in zip(self._waiting, deltas, strict=True):
            for layer in layers:
                self._found.setdefault(layer, []).append(delta)
        self._waiting.clear()
        self._last = None


@contextmanager
def started(base: Any, options: Mapping[str, Any]) -> Iterator[Any]:
    """A base with HypLoRA as it starts, of rank 1 and at B = 0, for as long as it is measured.

    The base computes what it did, is left as it was but frozen, and no random number is used up.

    Args:
        base: the untouched base model.
        options: HypLoRA's, without a rank; those that say which layers are adapted at least.
    """
    config = HypLoraConfig(task_type="CAUSAL_LM", r=1, **options)
    with torch.random.fork_rng():  # the method that is measured for starts where it does without
        model = peft.get_peft_model(base, config)
        try:
            yield model
        finally:
            model.unload()


def with_curvatures(
    base: Any, options: Mapping[str, Any], prompts: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """A method's options with numbers in the place of `curvature=auto`; others as they are.

    Args:
        base: the untouched base model; it is left as it is.
        options: of a method that has HypLoRA's `curvature` and `curvature_pattern`.
        prompts: token ids of the sample that the deltas are taken over.

    Raises:
        ValueError: there are no prompts of 4 tokens or more, or a layer's inputs are no numbers.
    """
    if options.get("curvature") != AUTO:
        return dict(options)
    if not any(len(prompt) >= FEWEST_TOKENS for prompt in prompts):
        raise ValueError(
            "curvature=auto is measured on validation rows: data.validation must not be 0"
            if not prompts
            else f"curvature=auto needs prompts of {FEWEST_TOKENS} tokens or more: the longest of "
            f"the sample has {max(map(len, prompts))}"
        )
    meter = DeltaMeter()
    targets = {key: options[key] for key in TARGETING if key in options}
    with started(base, targets) as model:
        layers = hyplora_layers(model)
        see_inputs(model, layers, prompts, meter.see)
    variant = VARIANTS[options.get("variant", "rotation")]
    pattern = {}
    for name in layers:
        delta = meter.mean(name)
        if delta is not None:  # else no text reaches it, as in a tower for pictures
            pattern[name] = variant.configured_for(data_driven_curvature(delta))
    given = dict(options.get("curvature_pattern") or {})
    # peft takes the first that matches, and what is given by hand counts
    pattern = given | {name: K for name, K in pattern.items() if name not in given}
    kept = {key: value for key, value in options.items() if key != "curvature"}
    return {**kept, "curvature_pattern": pattern}
