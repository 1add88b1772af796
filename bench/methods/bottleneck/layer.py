"""A linear layer with bottleneck adapters before, beside or after it.

    input      x ──> + ──> base_layer ──> result      with u(h) = scaling * up(act(down(h)))
               └─ u ─^
    parallel   x ──> base_layer ──> + ──> result
               └──────── u ─────────^
    output     x ──> base_layer ──> + ──> result
                                └─ u ^

State of an adapter, all of it saved: ``bottleneck_down[name].weight (size, width)`` and
``bottleneck_up[name].weight (width, size)``, where width is that of the layer's input or output
(beside the layer: down reads the input's, up writes the output's), and their biases, if any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from bench.methods.bottleneck.config import ACTIVATIONS, BottleneckConfig, Position
from bench.methods.targets import NonlinearLayer

NOT_LINEAR = (
    "A bottleneck adapter cannot be merged into the base weights: there is a non-linearity between "
    "its two projections, so the map is not linear in its input and no weight matrix equals it. "
    "Keep the adapter beside the base (save_pretrained, PeftModel.from_pretrained), take the base "
    "back with unload(), or train LoRA where a merged model is needed."
)


class BottleneckLinear(nn.Module, NonlinearLayer):
    """``torch.nn.Linear`` and its bottleneck adapters.

    Args:
        base_layer: the layer to wrap; anything that is a ``torch.nn.Linear``.
        adapter_name: name of the first adapter.
        config: its configuration.
        position: where it goes, from ``config.position``.
    """

    not_linear = NOT_LINEAR
    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ("bottleneck_dropout", "position", "non_linearity", "scaling")

    def __init__(
        self,
        base_layer: nn.Linear,
        adapter_name: str,
        config: BottleneckConfig,
        *,
        position: Position,
    ) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.bottleneck_dropout = nn.ModuleDict()
        self.position: dict[str, Position] = {}
        self.non_linearity: dict[str, str] = {}
        self.scaling: dict[str, float] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config, position=position)

    def update_layer(
        self, adapter_name: str, config: BottleneckConfig, *, position: Position
    ) -> None:
        """Add an adapter, or replace the one of that name."""
        self.position[adapter_name] = position
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
        _, base_dtype = self._get_base_layer_device_and_dtype(self.get_base_layer())
        # a quantised base has no dtype that projections could be trained in
        if base_dtype is not None and base_dtype.is_floating_point and base_dtype.itemsize >= 2:
            down, up = down.to(base_dtype), up.to(base_dtype)
        self.bottleneck_down[adapter_name], self.bottleneck_up[adapter_name] = down, up
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def _active(self, position: Position) -> Iterator[str]:
        for name in self.active_adapters:
            if self.position.get(name) == position:
                yield name

    def _update(self, adapter_name: str, h: Tensor) -> Tensor:
        down, up = self.bottleneck_down[adapter_name], self.bottleneck_up[adapter_name]
        act = ACTIVATIONS[self.non_linearity[adapter_name]]
        h = self.bottleneck_dropout[adapter_name](h)
        h = self._cast_input_dtype(h, down.weight.dtype)
        return up(act(down(h))) * self.scaling[adapter_name]

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The base layer's result with the active adapters.

        Of several in one position, those in series follow each other in the order in which they
        are active; those in parallel all read ``x`` and add up.

        Args:
            x: ``(..., in_features)``.
            *args: passed on to the base layer.
            **kwargs: likewise.

        Returns:
            ``(..., out_features)`` in the dtype of the base layer's result.
        """
        if self.disable_adapters:
            return self.base_layer(x, *args, **kwargs)
        h = x
        for name in self._active("input"):
            h = h + self._update(name, h)
        # a sum with float32 projections is float32, which a bfloat16 base does not take
        result = self.base_layer(h.to(x.dtype), *args, **kwargs)
        dtype = result.dtype
        for name in self._active("parallel"):
            result = result + self._update(name, x)
        for name in self._active("output"):
            result = result + self._update(name, result)
        return result.to(dtype)

    def __repr__(self) -> str:
        return "bottleneck." + super().__repr__()


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
