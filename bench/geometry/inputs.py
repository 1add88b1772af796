"""Arguments of the maps: tensors of any float dtype, and K as a number or a tensor."""

from __future__ import annotations

import math

from torch import Tensor


def floating(x: Tensor) -> Tensor:
    """The tensor in float32 at least.

    Raises:
        TypeError: ``x`` is not floating-point.
    """
    if not x.is_floating_point():
        raise TypeError(f"expected a floating-point tensor, got {x.dtype}: call .float() first")
    return x.float() if x.dtype.itemsize < 4 else x


def curvature(K: float | Tensor) -> float | Tensor:
    """The curvature parameter; a tensor of one element becomes a scalar.

    Raises:
        ValueError: ``K`` is a number that is not positive and finite. A tensor's values are not
            checked, since reading them would synchronise with the device.
    """
    if isinstance(K, Tensor):
        # a parameter of shape (1,) must not add an axis to a single point
        K = K.float() if K.dtype.itemsize < 4 else K
        return K.reshape(()) if K.numel() == 1 else K
    if not (math.isfinite(K) and K > 0):
        raise ValueError(f"K must be a positive finite number (sectional curvature -1/K), got {K}")
    return float(K)


def root(K: float | Tensor) -> float | Tensor:
    """``sqrt(K)``."""
    return K.sqrt() if isinstance(K, Tensor) else math.sqrt(K)


def column(K: float | Tensor) -> float | Tensor:
    """K with an axis for the coordinates, so that one K per point broadcasts with points."""
    return K.unsqueeze(-1) if isinstance(K, Tensor) and K.ndim else K
