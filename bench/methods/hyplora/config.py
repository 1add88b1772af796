"""The configuration of HypLoRA as a ``peft.PeftConfig``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from peft.utils.other import get_pattern_key

from bench.errors import unknown
from bench.methods.hyplora.variants import VARIANTS
from bench.methods.targets import (
    TargetedConfig,
    add_peft_type,
    is_finite_number,
    require_by_layer,
    require_dropout,
    require_positive,
    require_size,
)

HYPLORA = add_peft_type("HYPLORA")
MAX_RADIUS = 40  # sinh(40) = 1e17, and its products with other factors, are float32 numbers
AUTO = "auto"  # instead of a curvature: one per layer, measured on the base
# options that may differ by layer
PATTERNS = {"r": "rank_pattern", "lora_alpha": "alpha_pattern", "curvature": "curvature_pattern"}


@dataclass
class HypLoraConfig(TargetedConfig):
    """Configuration of HypLoRA (arXiv 2410.04010), a low-rank update in hyperbolic space.

    At ``B = 0`` the gate of a token of unit RMS is ``sqrt(K) sinh(1/sqrt(K)) / sqrt(d)``, 0.026 at
    d = 2048 and K = 1: with the same ``lora_alpha`` HypLoRA starts about ``sqrt(d)`` weaker than
    LoRA, and changing ``curvature`` changes the scale as well.

    Args:
        r: rank of the update, at most ``min(in_features, out_features)`` of every target.
        lora_alpha: the update is multiplied by ``lora_alpha / r``.
        lora_dropout: dropout on A's input, in [0, 1). The norm is taken without it, except by
            the authors' variants.
        target_modules: as in :class:`TargetedConfig`; None for peft's defaults of the architecture.
        variant: the low-rank transformation in hyperbolic space. "rotation" is the paper's (eq. 10
            and 18-20): it acts on the space coordinates and recomputes the time coordinate.
            "boost" acts on both, "tangent" on the tangent vector, which leaves the norm scale;
            "authors" and "authors_simplified" are the authors' public code.
        curvature: K, which the paper calls curvature: points satisfy ``<p, p> = -K``, so the
            sectional curvature is ``-1/K`` and a large K is nearly flat. Unused by "tangent";
            for "authors" the raw parameter of a softplus, so that 1 means K = 1.3133; for
            "authors_simplified" its k itself, of any sign.
        learnable_curvature: train K, one per layer, starting at ``curvature``; otherwise it is
            fixed, and saved with the adapter. The authors' variants always train it.
        norm_scale: initial value of the learnable divisor s of tokens before the exponential map.
            "sqrt_dim" is ``sqrt(in_features)``, which maps unit RMS to unit length. Unused by
            "authors_simplified".
        max_radius: upper bound of ``|x| / (s sqrt(K))``, since sinh of an outlier token overflows;
            12 is the authors' value, 40 the largest. Unused by "tangent" and
            "authors_simplified".
        rank_pattern: ranks that differ from ``r``, by layer name or regular expression.
        alpha_pattern: alphas that differ from ``lora_alpha``, likewise.
        curvature_pattern: curvatures that differ from ``curvature``, likewise.
        others: as in :class:`TargetedConfig`.

    Raises:
        ValueError: a value is out of range; the message says what is allowed.
    """

    r: int = 8
    lora_alpha: float = 16
    lora_dropout: float = 0.0
    variant: str = "rotation"
    curvature: float = 1.0
    learnable_curvature: bool = False
    norm_scale: float | str = "sqrt_dim"
    max_radius: float = 12.0
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    curvature_pattern: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = HYPLORA
        if self.variant not in VARIANTS:
            raise unknown("variant", str(self.variant), VARIANTS)
        learns = VARIANTS[self.variant].learns_curvature
        if learns == "never" and self.learnable_curvature:
            raise ValueError(f"learnable_curvature: variant {self.variant!r} has no curvature")
        self.learnable_curvature = self.learnable_curvature or learns == "always"
        if self.curvature == AUTO:
            raise ValueError(
                "curvature='auto' needs a base model to measure it on: use "
                "bench.methods.attach(base, 'hyplora', options, prompts), or give a number here, "
                "and numbers for single layers in curvature_pattern"
            )
        for name, rank in self._values("r"):
            require_size(name, rank)
        for name, alpha in self._values("lora_alpha"):
            require_positive(name, alpha)
        for name, curvature in self._values("curvature"):
            if not VARIANTS[self.variant].raw_is_configured:
                require_positive(name, curvature)
            elif not is_finite_number(curvature):
                raise ValueError(f"{name} must be a finite number, got {curvature!r}")
        require_positive("max_radius", self.max_radius)
        if self.max_radius > MAX_RADIUS:
            raise ValueError(
                f"max_radius must be at most {MAX_RADIUS}, where sinh is near the limit of "
                f"float32, got {self.max_radius!r}"
            )
        require_dropout("lora_dropout", self.lora_dropout)
        if self.norm_scale != "sqrt_dim":
            require_positive("norm_scale", self.norm_scale, " or 'sqrt_dim'")

    def of_layer(self, option: str, layer_name: str) -> Any:
        """The value of an option of `PATTERNS` for a layer, by its full name in the model."""
        by_layer = getattr(self, PATTERNS[option])
        return by_layer.get(get_pattern_key(list(by_layer), layer_name), getattr(self, option))

    def _values(self, option: str) -> Iterator[tuple[str, Any]]:
        pattern = PATTERNS[option]
        by_layer = getattr(self, pattern)
        require_by_layer(pattern, by_layer)
        yield option, getattr(self, option)
        yield from ((f"{pattern}[{layer!r}]", value) for layer, value in by_layer.items())
