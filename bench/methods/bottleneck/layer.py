"""A linear layer with bottleneck adapters on its input, in parallel or on its output.

    input      x ──> + ──> base_layer ──> result      with u(h) = scaling * up(act(down(h)))
               └─ u ─^
    parallel   x ──> base_layer ──> + ──> result
               └──────── u ─────────^
    output     x ──> base_layer ──> + ──> result
                                └─ u ^

Saved state of an adapter: ``bottleneck_down[name].weight (size, width)``,
``bottleneck_up[name].weight (width, size)``, and their biases, if any. width is that of the layer's
input or output (in parallel: of its input for down, of its output for up).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from bench.methods.bottleneck.config import ACTIVATIONS, BottleneckConfig, Position
from bench.methods.targets import NonlinearLayer

NOT_LINEAR = (
    "A bottleneck adapter cannot be merged into the base weights: with the non-linearity between "
    "its projections the map is not linear in its input. Save the adapter (save_pretrained, "
    "PeftModel.from_pretrained), recover the base with unload(), or train LoRA if you need a "
    "merged model."
)


class BottleneckLinear(nn.Module, NonlinearLayer):
    """A ``torch.nn.Linear`` with bottleneck adapters, each at its position."""

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
        self._wrap(base_layer, adapter_name)
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.bottleneck_dropout = nn.ModuleDict()
        self.position: dict[str, Position] = {}
        self.non_linearity: dict[str, str] = {}
        self.scaling: dict[str, float] = {}
        self.update_layer(adapter_name, config, position=position)

    def update_layer(
        self, adapter_name: str, config: BottleneckConfig, *, position: Position
    ) -> None:
        """Add or replace an adapter."""
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
        act = ACTIVATIONS[self.non_linearity[adapter_name]]
        h = self.bottleneck_dropout[adapter_name](h)
        h = self._cast_input_dtype(h, down.weight.dtype)
        return up(act(down(h))) * self.scaling[adapter_name]

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The output of the base layer with the active adapters.

        Several series adapters are applied one after the other, in the order of
        ``active_adapters``; several parallel ones all read ``x``.

        Args:
            x: ``(..., in_features)``.
            *args: passed on to the base layer.
            **kwargs: likewise.

        Returns:
            ``(..., out_features)`` in the dtype of the base layer's output.
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
