"""Series and parallel bottleneck adapters (Houlsby et al. 2019) as a peft tuner.

Importing this module registers it with peft.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import unknown
from bench.methods.targets import (
    LinearLayer,
    LinearTuner,
    TargetedConfig,
    add_peft_type,
    register,
    require_dropout,
    require_positive,
    require_size,
)

BOTTLENECK = add_peft_type("BOTTLENECK")

ACTIVATIONS = ("tanh", "relu", "gelu", "silu")  # functions of torch.nn.functional
NOT_LINEAR = (
    "A bottleneck adapter cannot be merged into the base weights: with the non-linearity between "
    "its projections the map is not linear in its input. Save the adapter (save_pretrained, "
    "PeftModel.from_pretrained), recover the base with unload(), or train LoRA if you need a "
    "merged model."
)

Position = Literal["input", "output", "parallel"]


def config(options: Mapping[str, Any]) -> BottleneckConfig:
    """The peft configuration for the options of conf/method/{series,parallel}.yaml."""
    return BottleneckConfig(task_type="CAUSAL_LM", **options)


@dataclass
class BottleneckConfig(TargetedConfig):
    """Configuration of series and parallel adapters, as LLM-Adapters places them.

    LLM-Adapters (arXiv 2304.01933) wraps single linear layers ``W``, unlike AdapterHub, whose
    adapters of the same names follow whole blocks. With ``u(h) = scaling * up(act(down(h)))``:

    - parallel: ``W x + u(x)``;
    - series: ``W (x + u(x))``, or ``W x + u(W x)`` for the ``output_modules``.

    The defaults are LLM-Adapters'; with them a new adapter is **not** the identity.

    Args:
        bottleneck_size: width between down and up.
        non_linearity: act, one of "tanh", "relu", "gelu" (exact) and "silu".
        placement: "series" or "parallel".
        scaling: factor of the adapter's output.
        init_weights: "bert" draws both weights from N(0, 0.02^2); "mam_adapter" (He et al. 2022)
            draws down like LoRA's A and sets up to 0, so that the adapted layer starts as the base.
        adapter_bias: whether down and up have a bias, initially 0. LLM-Adapters has none.
        dropout: dropout on down's input, in [0, 1).
        target_modules: as in :class:`TargetedConfig`, but required: LLM-Adapters' targets differ
            by task.
        output_modules: names of the layers that a series adapter follows, matched as in
            ``target_modules``; it precedes all others. By default, the layers of LLaMA, BLOOM,
            GPT-J and OPT that write to the residual stream, as in LLM-Adapters.
        others: as in :class:`TargetedConfig`.

    Raises:
        ValueError: a value is out of range; the message says what is allowed.
    """

    bottleneck_size: int = 256
    non_linearity: str = "tanh"
    placement: str = "series"
    scaling: float = 1.0
    init_weights: str = "bert"
    adapter_bias: bool = False
    dropout: float = 0.0
    output_modules: list[str] = field(
        default_factory=lambda: ["down_proj", "dense_4h_to_h", "fc_out", "fc2"]
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = BOTTLENECK
        for name, allowed in {
            "placement": ("series", "parallel"),
            "non_linearity": ACTIVATIONS,
            "init_weights": ("bert", "mam_adapter"),
        }.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise unknown(name, str(value), allowed)
        require_size("bottleneck_size", self.bottleneck_size)
        require_positive("scaling", self.scaling)
        require_dropout("dropout", self.dropout)
        if not isinstance(self.adapter_bias, bool):
            raise ValueError(f"adapter_bias must be true or false, got {self.adapter_bias!r}")
        names = self.output_modules
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"output_modules must be a list of layer names such as ['down_proj'], got {names!r}"
            )
        self.output_modules = list(names)

    def position(self, layer_name: str) -> Position:
        """The position of a layer's adapter, by the layer's full name in the model."""
        if self.placement == "parallel":
            return "parallel"
        after = any(f".{layer_name}".endswith(f".{name}") for name in self.output_modules)
        return "output" if after else "input"


class BottleneckLinear(nn.Module, LinearLayer):
    """A ``torch.nn.Linear`` with bottleneck adapters on its input, in parallel or on its output.

    Saved state of an adapter: ``bottleneck_down[name].weight (size, width)``,
    ``bottleneck_up[name].weight (width, size)``, and their biases, if any.
    """

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ("bottleneck_dropout", "position", "non_linearity", "scaling")

    def __init__(
        self, base_layer: nn.Linear, adapter_name: str, config: BottleneckConfig, layer_name: str
    ) -> None:
        super().__init__()
        self._wrap(base_layer, adapter_name)
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.bottleneck_dropout = nn.ModuleDict()
        self.position: dict[str, Position] = {}
        self.non_linearity: dict[str, str] = {}
        self.scaling: dict[str, float] = {}
        self.update_layer(adapter_name, config, layer_name)

    def update_layer(self, adapter_name: str, config: BottleneckConfig, layer_name: str) -> None:
        """Add or replace an adapter."""
        self.position[adapter_name] = position = config.position(layer_name)
        self.non_linearity[adapter_name] = config.non_linearity
        self.scaling[adapter_name] = config.scaling
        self.bottleneck_dropout[adapter_name] = (
            nn.Dropout(config.dropout) if config.dropout > 0 else nn.Identity()
        )
        reads = self.out_features if position == "output" else self.in_features
        writes = self.in_features if position == "input" else self.out_features
        down = nn.Linear(reads, config.bottleneck_size, bias=config.adapter_bias)
        up = nn.Linear(config.bottleneck_size, writes, bias=config.adapter_bias)
        _initialise(down, up, config.init_weights)
        self.bottleneck_down[adapter_name] = self._in_trainable_dtype(down)
        self.bottleneck_up[adapter_name] = self._in_trainable_dtype(up)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def _active(self, position: Position) -> Iterator[str]:
        for name in self.active_adapters:
            if self.position.get(name) == position:
                yield name

    def _update(self, adapter_name: str, h: Tensor) -> Tensor:
        down, up = self.bottleneck_down[adapter_name], self.bottleneck_up[adapter_name]
        act = getattr(F, self.non_linearity[adapter_name])
        h = self.bottleneck_dropout[adapter_name](h)
        h = self._cast_input_dtype(h, down.weight.dtype)
        return up(act(down(h))) * self.scaling[adapter_name]

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The output ``(..., out_features)`` of the base layer with the active adapters.

        Several series adapters are applied one after the other, in the order of
        ``active_adapters``; several parallel ones all read ``x``.
        """
        if self.disable_adapters:
            return self.base_layer(x, *args, **kwargs)
        h = x
        for name in self._active("input"):
            h = h + self._update(name, h)
        # float32 projections make the sum float32, which a bfloat16 base does not accept
        result = self.base_layer(h.to(x.dtype), *args, **kwargs)
        dtype = result.dtype
        for name in self._active("parallel"):
            result = result + self._update(name, x)
        for name in self._active("output"):
            result = result + self._update(name, result)
        return result.to(dtype)

    def unmerge(self) -> None:
        """Nothing to do, since nothing is ever merged."""


def _initialise(down: nn.Linear, up: nn.Linear, init_weights: str) -> None:
    if init_weights == "bert":
        nn.init.normal_(down.weight, std=0.02)
        nn.init.normal_(up.weight, std=0.02)
    else:
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(up.weight)
    for projection in (down, up):
        if projection.bias is not None:
            nn.init.zeros_(projection.bias)


class BottleneckModel(LinearTuner):
    """A model with bottleneck adapters, created by ``peft.get_peft_model``."""

    method = "A bottleneck adapter"
    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLinear
    # no defaults by architecture: peft then asks for target_modules
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012  (peft only reads it)

    def _check_merge_allowed(self) -> None:
        raise NotImplementedError(NOT_LINEAR)


register(BOTTLENECK, BottleneckConfig, BottleneckModel)
