"""The configuration of HypLoRA as a ``peft.PeftConfig``.

Usage::

    config = HypLoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], curvature=0.5)
    model = peft.get_peft_model(base, config)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.methods.hyplora.variants import VARIANTS
from bench.methods.registration import add_peft_type
from bench.methods.targets import TargetedConfig, is_number

HYPLORA = add_peft_type("HYPLORA")
AUTO = "auto"  # in place of a curvature: each layer's own, measured on a base


@dataclass
class HypLoraConfig(TargetedConfig):
    """Configuration of HypLoRA (arXiv 2410.04010), the low-rank update in hyperbolic space.

    At ``B = 0`` the gate of a token of unit RMS is ``sqrt(K) sinh(1/sqrt(K)) / sqrt(d)``, 0.026 at
    d = 2048 and K = 1: with the same ``lora_alpha`` HypLoRA starts about ``sqrt(d)`` weaker than
    LoRA, and changing ``curvature`` changes the scale as well.

    Args:
        r: rank of the update, at most ``min(in_features, out_features)`` of every target.
        lora_alpha: the update is multiplied by ``lora_alpha / r``.
        lora_dropout: dropout on A's input, in [0, 1). The norm is taken without it.
        target_modules: names or a regular expression of the linear layers to adapt, as in peft's
            LoRA; None takes peft's defaults for the model's architecture, "all-linear" all of them.
        variant: the low-rank transformation in hyperbolic space. "rotation" is the paper's (eq. 10
            and 18-20): it acts on the space coordinates and recomputes the time. "boost" acts on
            the time as well, "tangent" on the tangent vector, so that only the norm scale is left;
            "authors" and "authors_simplified" compute what the authors' public code does.
        curvature: K, the number that the paper calls curvature: points satisfy ``<p, p> = -K``, so
            the sectional curvature is ``-1/K`` and a large K is nearly flat. "tangent" has none;
            "authors" takes it as the raw parameter of a softplus, so that 1 means K = 1.3133.
        learnable_curvature: train K, one for each layer, from ``curvature`` on; else it is saved
            with the adapter but fixed. The authors' variants always train it.
        norm_scale: tokens are divided by this learnable number s before the exponential map; here
            is where it starts. "sqrt_dim" is ``sqrt(in_features)``: unit RMS becomes unit length.
        max_radius: where ``|x| / (s sqrt(K))`` is clamped, since sinh of an outlier token
            overflows; 12 is the authors' value. On a GPU the scalars are float32, which ends
            near 40.
        others: as in :class:`TargetedConfig`.
        rank_pattern: ranks that differ from ``r``, by layer name or regular expression.
        alpha_pattern: alphas that differ from ``lora_alpha``, likewise.
        curvature_pattern: curvatures that differ from ``curvature``, likewise.

    Raises:
        ValueError: a value is out of its range; the message says what is allowed.
    """

    r: int = field(default=8, metadata={"help": "rank of the update"})
    lora_alpha: float = field(default=16, metadata={"help": "scale; multiplied by 1/r"})
    lora_dropout: float = field(default=0.0, metadata={"help": "dropout on A's input"})
    variant: str = field(default="rotation", metadata={"help": f"one of {', '.join(VARIANTS)}"})
    curvature: float = field(default=1.0, metadata={"help": "K; sectional curvature is -1/K"})
    learnable_curvature: bool = field(default=False, metadata={"help": "train K"})
    norm_scale: float | str = field(
        default="sqrt_dim", metadata={"help": "initial divisor of tokens: 'sqrt_dim' or a number"}
    )
    max_radius: float = field(default=12.0, metadata={"help": "clamp of the hyperbolic radius"})
    rank_pattern: dict[str, int] = field(
        default_factory=dict, metadata={"help": "ranks that differ from r, by layer"}
    )
    alpha_pattern: dict[str, float] = field(
        default_factory=dict, metadata={"help": "alphas that differ from lora_alpha, by layer"}
    )
    curvature_pattern: dict[str, float] = field(
        default_factory=dict, metadata={"help": "curvatures that differ from curvature, by layer"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = HYPLORA
        self._check()

    def _check(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"unknown variant {self.variant!r}: known are {', '.join(VARIANTS)}")
        for name in ("rank_pattern", "alpha_pattern", "curvature_pattern"):
            value = getattr(self, name)
            if not isinstance(value, dict):
                raise ValueError(
                    f"{name} must give numbers by layer, like {{'down_proj': 2}}, got {value!r}"
                )
        for name, rank in {"r": self.r, **self.rank_pattern}.items():
            if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
                where = "r" if name == "r" else f"rank_pattern[{name!r}]"
                raise ValueError(f"{where} must be a whole number of at least 1, got {rank!r}")
        learns = VARIANTS[self.variant].learns_curvature
        if learns == "never" and self.learnable_curvature:
            raise ValueError(f"learnable_curvature: variant {self.variant!r} has no curvature")
        self.learnable_curvature = self.learnable_curvature or learns == "always"
        self._check_curvatures()
        _require_positive("max_radius", self.max_radius)
        _require_positive("lora_alpha", self.lora_alpha)
        for name, alpha in self.alpha_pattern.items():
            _require_positive(f"alpha_pattern[{name!r}]", alpha)
        if not (is_number(self.lora_dropout) and 0 <= self.lora_dropout < 1):
            raise ValueError(f"lora_dropout must be in [0, 1), got {self.lora_dropout!r}")
        if self.norm_scale != "sqrt_dim":
            _require_positive("norm_scale", self.norm_scale, " or 'sqrt_dim'")

    def _check_curvatures(self) -> None:
        if self.curvature == AUTO:
            raise ValueError(
                "curvature='auto' is measured on a base, so a configuration alone can't have it: "
                "bench.methods.attach(base, 'hyplora', options, prompts) measures it. Here give a "
                "number, and the numbers of single layers in curvature_pattern"
            )
        named = {f"curvature_pattern[{k!r}]": K for k, K in self.curvature_pattern.items()}
        for name, curvature in {"curvature": self.curvature, **named}.items():
            if VARIANTS[self.variant].raw_is_configured:
                if not is_number(curvature):
                    raise ValueError(f"{name} must be a finite number, got {curvature!r}")
            else:
                _require_positive(name, curvature)


def _require_positive(name: str, value: Any, otherwise: str = "") -> None:
    if not (is_number(value) and value > 0):
        raise ValueError(f"{name} must be a positive finite number{otherwise}, got {value!r}")
