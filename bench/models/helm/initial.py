"""How weights start: the public code's distributions, or the same with time columns of zeros."""

from __future__ import annotations

import math

from torch import Tensor, nn
from transformers import initialization as init


def xavier(inputs: int, outputs: int, gain: float = math.sqrt(2)) -> float:
    """The bound of Xavier's uniform distribution; `inputs` counts the time coordinate."""
    return gain * math.sqrt(6 / (inputs + outputs))


def start(linear: nn.Linear, column: Tensor, bound: float, bias: float, balanced: bool) -> None:
    """Draw a layer's weights uniformly, and its time column alike or as zeros.

    Args:
        linear: the layer on space coordinates.
        column: its weights on the time coordinate.
        bound: of the weights.
        bias: bound of the bias; 0 for a bias of zeros.
        balanced: whether the time column starts at 0.
    """
    init.uniform_(linear.weight, -bound, bound)
    if linear.bias is not None:
        init.uniform_(linear.bias, -bias, bias)
    start_column(column, bound, balanced)


def start_column(column: Tensor, bound: float, balanced: bool) -> None:
    """A time column: drawn as the weights beside it, or zeros."""
    if balanced:
        init.zeros_(column)
    else:
        init.uniform_(column, -bound, bound)
