"""The configuration of bottleneck adapters as a ``peft.PeftConfig``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import unknown
from bench.methods.registration import add_peft_type
from bench.methods.targets import TargetedConfig, is_number

BOTTLENECK = add_peft_type("BOTTLENECK")

PLACEMENTS = ("series", "parallel")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
}
INITS = ("bert", "mam_adapter")

Position = Literal["input", "output", "parallel"]


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
        adapter_bias: whether down and up have a bias, initially 0. LLM-Adapters have none.
        dropout: dropout on down's input, in [0, 1).
        target_modules: as in :class:`TargetedConfig`, but required: LLM-Adapters' targets differ
            by task.
        output_modules: names of the layers that a series adapter follows, matched as in
            ``target_modules``; it precedes all others. By default LLM-Adapters' layers that write
            to the residual stream, of LLaMA, BLOOM, GPT-J and OPT.
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
        self._check()
        self.output_modules = list(self.output_modules)

    def position(self, layer_name: str) -> Position:
        """The position of a layer's adapter, by the layer's full name in the model."""
        if self.placement == "parallel":
            return "parallel"
        after = any(f".{layer_name}".endswith(f".{name}") for name in self.output_modules)
        return "output" if after else "input"

    def _check(self) -> None:
        for name, allowed in {
            "placement": PLACEMENTS,
            "non_linearity": ACTIVATIONS,
            "init_weights": INITS,
        }.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise unknown(name, str(value), allowed)
        size = self.bottleneck_size
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"bottleneck_size must be a whole number of at least 1, got {size!r}")
        if not (is_number(self.scaling) and self.scaling > 0):
            raise ValueError(f"scaling must be a positive finite number, got {self.scaling!r}")
        if not (is_number(self.dropout) and 0 <= self.dropout < 1):
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout!r}")
        if not isinstance(self.adapter_bias, bool):
            raise ValueError(f"adapter_bias must be true or false, got {self.adapter_bias!r}")
        names = self.output_modules
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"output_modules must be a list of layer names such as ['down_proj'], got {names!r}"
            )
