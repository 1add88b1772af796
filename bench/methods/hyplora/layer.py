"""A linear layer with HypLoRA adapters, and the peft tuner that makes it.

Saved state of an adapter: ``hyplora_A[name].weight (r, d)`` and ``hyplora_B[name].weight (m, r)``,
``(r, 1 + d)`` and ``(m, 1 + r)`` with the time first for the variant boost; the raw curvature
``hyplora_K[name]`` (``K = softplus(raw)``, frozen unless it is learned) and the norm scale
``hyplora_s[name]``, both of shape (1,), since fully sharded training does not support scalars.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from peft.tuners.tuners_utils import check_adapters_to_merge
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import Tensor, nn

from bench.methods.hyplora.config import PATTERNS, HypLoraConfig
from bench.methods.hyplora.frozen import FrozenCache
from bench.methods.hyplora.gate import token_norm
from bench.methods.hyplora.variants import VARIANTS, raw_from_curvature
from bench.methods.targets import LinearLayer, LinearTuner

NOT_LINEAR = (
    "HypLoRA cannot be merged into the base weights: each token's update is scaled by a gate that "
    "depends on the token's norm, so the map is not linear in its input. Save the adapter "
    "(save_pretrained, PeftModel.from_pretrained), or recover the base with unload(). If you need "
    "a merged model, train plain LoRA or the variant 'tangent'."
)

QUANTISED = (
    "a HypLoRA adapter cannot be merged into quantised weights ({dtype}): the sum would be rounded "
    "to that type. Load the base without quantization, put the adapter on it and merge there."
)


class ScalarDict(nn.ParameterDict):
    """Parameters whose dtype stays at least float32 when the model is converted.

    In bfloat16 (8 bits) s = sqrt(2048) = 45.2548 would become 45.25, and an optimiser's steps below
    0.1 would vanish.
    """

    def _apply(self, fn, recurse: bool = True):
        def keep_wide(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.dtype.itemsize >= 4:
                return moved
            return tensor.to(device=moved.device, dtype=torch.float32)

        return super()._apply(keep_wide, recurse)


class HypLoraLinear(nn.Module, LinearLayer):
    """A ``torch.nn.Linear`` with HypLoRA adapters; arguments as for :meth:`update_layer`."""

    adapter_layer_names = ("hyplora_A", "hyplora_B", "hyplora_K", "hyplora_s")
    other_param_names = ("hyplora_dropout", "r", "scaling", "max_radius", "variant", "frozen")

    def __init__(
        self, base_layer: nn.Linear, adapter_name: str, config: HypLoraConfig, layer_name: str
    ) -> None:
        super().__init__()
        self._wrap(base_layer, adapter_name)
        self.hyplora_A = nn.ModuleDict()
        self.hyplora_B = nn.ModuleDict()
        self.hyplora_K = ScalarDict()
        self.hyplora_s = ScalarDict()
        self.hyplora_dropout = nn.ModuleDict()
        self.r: dict[str, int] = {}
        self.scaling: dict[str, float] = {}
        self.max_radius: dict[str, float] = {}
        self.variant: dict[str, str] = {}
        self.frozen: dict[str, FrozenCache] = {}
        self.update_layer(adapter_name, config, layer_name)

    def update_layer(self, adapter_name: str, config: HypLoraConfig, layer_name: str) -> None:
        """Add or replace an adapter.

        A is drawn as in peft's LoRA, with the same random numbers. B is 0, so the layer starts as
        the base. ``layer_name`` is the layer's full name in the model.

        Raises:
            ValueError: the rank is larger than ``in_features`` or ``out_features``.
        """
        r, lora_alpha, curvature = (config.of_layer(option, layer_name) for option in PATTERNS)
        limit = min(self.in_features, self.out_features)
        if r > limit:
            raise ValueError(
                f"r={r} is too large for the layer {layer_name!r} "
                f"({self.in_features} -> {self.out_features}): at most {limit}. "
                f"Lower r, or set this layer's rank in rank_pattern."
            )
        variant = VARIANTS[config.variant]
        self.r[adapter_name] = r
        self.scaling[adapter_name] = lora_alpha / r
        self.max_radius[adapter_name] = config.max_radius
        self.variant[adapter_name] = config.variant
        self.frozen[adapter_name] = FrozenCache()
        self.hyplora_dropout[adapter_name] = (
            nn.Dropout(config.lora_dropout) if config.lora_dropout > 0 else nn.Identity()
        )
        extra = variant.time_columns
        A = nn.Linear(self.in_features + extra, r, bias=False)
        B = nn.Linear(r + extra, self.out_features, bias=False)
        nn.init.kaiming_uniform_(A.weight, a=math.sqrt(5))
        nn.init.zeros_(B.weight)
        self.hyplora_A[adapter_name] = self._in_trainable_dtype(A)
        self.hyplora_B[adapter_name] = self._in_trainable_dtype(B)

        s = math.sqrt(self.in_features) if config.norm_scale == "sqrt_dim" else config.norm_scale
        raw = curvature if variant.raw_is_configured else raw_from_curvature(curvature)
        _, base_dtype = self._get_base_layer_device_and_dtype(self.get_base_layer())
        dtype = torch.float64 if base_dtype == torch.float64 else torch.float32
        self.hyplora_K[adapter_name] = nn.Parameter(torch.tensor([raw], dtype=dtype))
        self.hyplora_s[adapter_name] = nn.Parameter(torch.tensor([s], dtype=dtype))
        # parameters, so that they are saved; frozen by name, or set_adapter() would train them
        self.frozen_peft_weight_names[adapter_name] = (
            *(() if config.learnable_curvature else ("hyplora_K",)),
            *(() if variant.learns_scale else ("hyplora_s",)),
        )

        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def curvature(self, adapter_name: str) -> Tensor:
        """K of an adapter, shape (1,): the number in ``<p, p> = -K``."""
        variant = VARIANTS[self.variant[adapter_name]]
        return variant.curvature_from_raw(self.hyplora_K[adapter_name])

    def curvature_value(self, adapter_name: str) -> float | None:
        """K as a number; None for a variant without curvature."""
        if VARIANTS[self.variant[adapter_name]].learns_curvature == "never":
            return None
        return self.curvature(adapter_name).item()

    @torch.no_grad()
    def gate(self, adapter_name: str, x: Tensor) -> Tensor:
        """An adapter's gate for each token of ``x (..., in_features)``, ``(...)``.

        It multiplies LoRA's update ``B A x``, without ``alpha/r``; float32 or float64.
        """
        return VARIANTS[self.variant[adapter_name]].gate(
            x,
            self.hyplora_A[adapter_name].weight,
            self.hyplora_B[adapter_name].weight,
            self.curvature(adapter_name),
            self.hyplora_s[adapter_name],
            self.max_radius[adapter_name],
        )

    @torch.no_grad()
    def clamped(self, adapter_name: str, x: Tensor) -> Tensor:
        """Whether the radius of each token of ``x (..., in_features)`` exceeds ``max_radius``.

        ``(...)``, bool; False for variants without a clamp.
        """
        limit = self.max_radius[adapter_name] * self.hyplora_s[adapter_name].abs()
        beyond = token_norm(x) > limit * self.curvature(adapter_name).clamp_min(0).sqrt()
        return (beyond & VARIANTS[self.variant[adapter_name]].clamps).squeeze(-1)

    def _add_update(self, adapter_name: str, result: Tensor, x: Tensor) -> Tensor:
        # Looked up as attributes of the modules, these take longer than two products with a token.
        parts = self._modules
        A = parts["hyplora_A"]._modules[adapter_name].weight
        B = parts["hyplora_B"]._modules[adapter_name].weight
        raw = parts["hyplora_K"]._parameters[adapter_name]
        s = parts["hyplora_s"]._parameters[adapter_name]
        dropout = self.hyplora_dropout[adapter_name]
        dropped = dropout(x) if dropout.training else x
        variant = VARIANTS[self.variant[adapter_name]]
        frozen = None
        if not (self.training or torch.is_grad_enabled()):
            frozen = self.frozen[adapter_name].get(B, raw, s, variant.curvature_from_raw)
        return variant.update(
            result,
            x,
            dropped,
            A,
            B,
            variant.curvature_from_raw(raw) if frozen is None else frozen.K,
            s,
            max_radius=self.max_radius[adapter_name],
            scaling=self.scaling[adapter_name],
            frozen=frozen,
        )

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The output ``(..., out_features)`` of the base layer plus the active updates."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        for adapter_name in self.active_adapters:
            if adapter_name in self.hyplora_A:
                result = self._add_update(adapter_name, result, x)
        return result

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add linear adapters (variant "tangent") to the base's weight.

        Args:
            safe_merge: raise, and keep the weight, if the sum is not finite.
            adapter_names: the adapters; None for the active ones.

        Raises:
            NotImplementedError: one of them is not linear, or the weight is quantised; nothing is
                merged.
            ValueError: the sum is not finite.
        """
        names = check_adapters_to_merge(self, adapter_names)
        names = [name for name in names if name in self.hyplora_A]
        self.check_mergeable(names)
        for name in names:
            weight = self.get_base_layer().weight
            merged = weight.data + self._delta_weight(name).to(weight.dtype)
            if safe_merge and not torch.isfinite(merged).all():
                raise ValueError(f"the weight merged with adapter {name!r} is not finite")
            weight.data = merged
            self.merged_adapters.append(name)

    def check_mergeable(self, adapter_names: Iterable[str]) -> None:
        """Raise NotImplementedError if an adapter is not linear, or the weight is quantised."""
        if not all(VARIANTS[self.variant[n]].linear for n in adapter_names if n in self.variant):
            raise NotImplementedError(NOT_LINEAR)
        dtype = self.get_base_layer().weight.dtype
        if not dtype.is_floating_point or dtype.itemsize < 2:
            raise NotImplementedError(QUANTISED.format(dtype=dtype))

    def unmerge(self) -> None:
        """Subtract all merged adapters from the base's weight, up to rounding."""
        while self.merged_adapters:
            weight = self.get_base_layer().weight
            weight.data -= self._delta_weight(self.merged_adapters.pop()).to(weight.dtype)

    @torch.no_grad()
    def _delta_weight(self, adapter_name: str) -> Tensor:
        """``(alpha/r) B A / s``, the weight ``(m, d)`` of a linear adapter."""
        A, B = self.hyplora_A[adapter_name].weight, self.hyplora_B[adapter_name].weight
        A, B = (w.to(torch.promote_types(w.dtype, torch.float32)) for w in (A, B))
        return self.scaling[adapter_name] / self.hyplora_s[adapter_name] * (B @ A)

    def _clear_caches(self) -> None:
        for cache in self.frozen.values():
            cache.clear()

    def train(self, mode: bool = True) -> HypLoraLinear:
        """Set the mode, and clear the caches, which do not notice writes through ``.data``."""
        self._clear_caches()
        return super().train(mode)

    def _apply(self, fn, recurse: bool = True):
        self._clear_caches()
        return super()._apply(fn, recurse)


def hyplora_layers(model: Any) -> dict[str, HypLoraLinear]:
    """The HypLoRA layers of a peft model, by their names in the base."""
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, HypLoraLinear)
    }


class HypLoraModel(LinearTuner):
    """A model with HypLoRA adapters, created by ``peft.get_peft_model``."""

    method = "HypLoRA"
    prefix = "hyplora_"
    tuner_layer_cls = HypLoraLinear
    target_module_mapping = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    def _check_merge_allowed(self) -> None:
        super()._check_merge_allowed()
        for layer in hyplora_layers(self).values():
            layer.check_mergeable(self.active_adapters)
