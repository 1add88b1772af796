"""A linear layer with HypLoRA adapters beside it.

    x ──> base_layer ───────────────────────> + ──> result
    x ──> dropout ──> A ──> h ──> × ──> B ────^
    |x|, h, B^T B ──> gate ───────^

State of an adapter, all of it saved: ``hyplora_A[name].weight (r, d)``, ``hyplora_B[name].weight
(m, r)``, ``hyplora_K[name]`` the raw curvature (``K = softplus(raw)``, frozen unless it is to be
learnt) and ``hyplora_s[name]`` the norm scale. The last two have shape (1,), since fully sharded
training takes no scalars, and never fall below float32. With the variant "boost" A and B have one
column more, for the time coordinate, before the others.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from peft.tuners.tuners_utils import check_adapters_to_merge
from torch import Tensor, nn

from bench.methods.hyplora.config import HypLoraConfig
from bench.methods.hyplora.gate import GramCache, autocasting, token_norm
from bench.methods.hyplora.variants import VARIANTS
from bench.methods.targets import NonlinearLayer

NOT_LINEAR = (
    "HypLoRA cannot be merged into the base weights: each token's update is scaled by a gate that "
    "depends on the token's norm, so the map is not linear in its input and no weight matrix "
    "equals it. Keep the adapter beside the base (save_pretrained, PeftModel.from_pretrained), or "
    "take the base back with unload(). Where a merged model is needed, train plain LoRA or the "
    "variant 'tangent'."
)


class ScalarDict(nn.ParameterDict):
    """Parameters that follow the model's device, but whose dtype stays at least float32.

    bfloat16 keeps 8 bits: s = sqrt(2048) = 45.2548 would become 45.25, and an optimiser's steps of
    less than 0.1 would vanish.
    """

    def _apply(self, fn, recurse: bool = True):
        def keep_wide(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.dtype.itemsize >= 4:
                return moved
            return tensor.to(device=moved.device, dtype=torch.float32)

        return super()._apply(keep_wide, recurse)


class HypLoraLinear(nn.Module, NonlinearLayer):
    """``torch.nn.Linear`` and its HypLoRA adapters.

    Args:
        base_layer: the layer to wrap; anything that is a ``torch.nn.Linear``.
        adapter_name: name of the first adapter.
        config: its configuration.
        r: its rank.
        lora_alpha: its alpha.
        curvature: its curvature, as it is configured.
        layer_name: the layer's name in the model, for messages.

    Raises:
        ValueError: the rank does not fit the layer.
    """

    not_linear = NOT_LINEAR
    adapter_layer_names = ("hyplora_A", "hyplora_B", "hyplora_K", "hyplora_s")
    other_param_names = (
        "hyplora_dropout",
        "r",
        "lora_alpha",
        "scaling",
        "max_radius",
        "variant",
        "gram_cache",
    )

    def __init__(
        self,
        base_layer: nn.Linear,
        adapter_name: str,
        config: HypLoraConfig,
        *,
        r: int,
        lora_alpha: float,
        curvature: float,
        layer_name: str,
    ) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        self.hyplora_A = nn.ModuleDict()
        self.hyplora_B = nn.ModuleDict()
        self.hyplora_K = ScalarDict()
        self.hyplora_s = ScalarDict()
        self.hyplora_dropout = nn.ModuleDict()
        self.r: dict[str, int] = {}
        self.lora_alpha: dict[str, float] = {}
        self.scaling: dict[str, float] = {}
        self.max_radius: dict[str, float] = {}
        self.variant: dict[str, str] = {}
        self.gram_cache: dict[str, GramCache] = {}
        # the class attribute is one dictionary for all of peft's layers
        self.frozen_peft_weight_names = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.update_layer(
            adapter_name,
            config,
            r=r,
            lora_alpha=lora_alpha,
            curvature=curvature,
            layer_name=layer_name,
        )

    def update_layer(
        self,
        adapter_name: str,
        config: HypLoraConfig,
        *,
        r: int,
        lora_alpha: float,
        curvature: float,
        layer_name: str,
    ) -> None:
        """Add an adapter, or replace the one of that name.

        A is drawn as peft's LoRA draws it, from the same random numbers: with one seed both methods
        start from the same A. B starts at 0, so the layer starts as the base.

        Raises:
            ValueError: ``r`` is larger than the layer's smaller side.
        """
        limit = min(self.in_features, self.out_features)
        if r > limit:
            raise ValueError(
                f"r={r} is too large for the layer {layer_name!r} "
                f"({self.in_features} -> {self.out_features}): its rank is at most {limit}. "
                f"Lower r, or give this layer its own rank in rank_pattern."
            )
        variant = VARIANTS[config.variant]
        self.r[adapter_name] = r
        self.lora_alpha[adapter_name] = lora_alpha
        self.scaling[adapter_name] = lora_alpha / r
        self.max_radius[adapter_name] = config.max_radius
        self.variant[adapter_name] = config.variant
        self.gram_cache[adapter_name] = GramCache()
        self.hyplora_dropout[adapter_name] = (
            nn.Dropout(config.lora_dropout) if config.lora_dropout > 0 else nn.Identity()
        )
        extra = variant.time_columns
        A = nn.Linear(self.in_features + extra, r, bias=False)
        B = nn.Linear(r + extra, self.out_features, bias=False)
        nn.init.kaiming_uniform_(A.weight, a=math.sqrt(5))
        nn.init.zeros_(B.weight)
        _, base_dtype = self._get_base_layer_device_and_dtype(self.get_base_layer())
        # a quantised base has no dtype that factors could be trained in
        if base_dtype is not None and base_dtype.is_floating_point and base_dtype.itemsize >= 2:
            A, B = A.to(base_dtype), B.to(base_dtype)
        self.hyplora_A[adapter_name], self.hyplora_B[adapter_name] = A, B

        s = math.sqrt(self.in_features) if config.norm_scale == "sqrt_dim" else config.norm_scale
        raw = variant.raw_from_curvature(curvature)
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

    def known_curvature(self, adapter_name: str) -> float | None:
        """K as a number; None for a variant that has none."""
        if VARIANTS[self.variant[adapter_name]].learns_curvature == "never":
            return None
        return self.curvature(adapter_name).item()

    @torch.no_grad()
    def gate(self, adapter_name: str, x: Tensor) -> Tensor:
        """What an adapter multiplies each token's LoRA update ``B A x`` by, without ``alpha/r``.

        Args:
            adapter_name: one of the layer's adapters.
            x: ``(..., in_features)``.

        Returns:
            ``(...)``, float32 or float64.
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
        """Whether a token's radius ``|x| / (s sqrt(K))`` is beyond ``max_radius``.

        Args:
            adapter_name: one of the layer's adapters.
            x: ``(..., in_features)``.

        Returns:
            ``(...)``, bool; False for variants without a clamp.
        """
        longest = self.max_radius[adapter_name] * self.hyplora_s[adapter_name]
        beyond = token_norm(x) > longest * self.curvature(adapter_name).clamp_min(0).sqrt()
        return (beyond & VARIANTS[self.variant[adapter_name]].clamps).squeeze(-1)

    def _delta(self, adapter_name: str, x: Tensor) -> Tensor:
        A = self.hyplora_A[adapter_name].weight
        B = self.hyplora_B[adapter_name].weight
        dropped = self.hyplora_dropout[adapter_name](x)
        if not autocasting(x.device):  # else autocast picks the dtype
            dropped = self._cast_input_dtype(dropped, A.dtype)
        frozen = not (self.training or (B.requires_grad and torch.is_grad_enabled()))
        return VARIANTS[self.variant[adapter_name]].delta(
            x,
            dropped,
            A,
            B,
            self.curvature(adapter_name),
            self.hyplora_s[adapter_name],
            max_radius=self.max_radius[adapter_name],
            scaling=self.scaling[adapter_name],
            gram_B=self.gram_cache[adapter_name].get(B) if frozen else None,
        )

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The base layer's result plus the update of each active adapter.

        Args:
            x: ``(..., in_features)``.
            *args: passed on to the base layer.
            **kwargs: likewise.

        Returns:
            ``(..., out_features)`` in the dtype of the base layer's result.
        """
        if self.disable_adapters and self.merged:
            self.unmerge()
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        dtype = result.dtype
        for adapter_name in self.active_adapters:
            if adapter_name in self.hyplora_A:
                result = result + self._delta(adapter_name, x)
        return result.to(dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add adapters that are linear (variant "tangent") to the base's weight.

        Args:
            safe_merge: refuse a sum that is not finite, and leave the weight as it is.
            adapter_names: the adapters; None for those that are active.

        Raises:
            NotImplementedError: one of them is not linear; nothing is merged then.
            ValueError: the sum is not finite.
        """
        names = check_adapters_to_merge(self, adapter_names)
        names = [name for name in names if name in self.hyplora_A]
        if not all(VARIANTS[self.variant[name]].linear for name in names):
            raise NotImplementedError(self.not_linear)
        for name in names:
            weight = self.get_base_layer().weight
            merged = weight.data + self._delta_weight(name).to(weight.dtype)
            if safe_merge and not torch.isfinite(merged).all():
                raise ValueError(f"the weight with adapter {name!r} merged into it is not finite")
            weight.data = merged
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Take all merged adapters out of the base's weight again, to rounding."""
        while self.merged_adapters:
            weight = self.get_base_layer().weight
            weight.data -= self._delta_weight(self.merged_adapters.pop()).to(weight.dtype)

    @torch.no_grad()
    def _delta_weight(self, adapter_name: str) -> Tensor:
        """``(alpha/r) B A / s``, the weight ``(m, d)`` of a linear adapter."""
        A = self.hyplora_A[adapter_name].weight.float()
        B = self.hyplora_B[adapter_name].weight.float()
        return self.scaling[adapter_name] / self.hyplora_s[adapter_name] * (B @ A)

    def _clear_caches(self) -> None:
        for cache in self.gram_cache.values():
            cache.clear()

    def train(self, mode: bool = True) -> HypLoraLinear:
        """Set the mode. Both drop the kept Gram matrices, which miss writes through ``.data``."""
        self._clear_caches()
        return super().train(mode)

    def _apply(self, fn, recurse: bool = True):
        self._clear_caches()
        return super()._apply(fn, recurse)

    def __repr__(self) -> str:
        return "hyplora." + super().__repr__()


def hyplora_layers(model: Any) -> dict[str, HypLoraLinear]:
    """The HypLoRA layers of a peft model, by their names in its base."""
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, HypLoraLinear)
    }
