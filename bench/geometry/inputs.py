"""What the maps of every model take: tensors of any float dtype, and K as a number or a tensor."""

from __future__ import annotations

import math

from torch import Tensor


def floating(x: Tensor) -> Tensor:
    """The tensor to compute with: half precision as float32.

    Raises:
        TypeError: ``x`` is not floating-point.
    """
    if not x.is_floating_point():
        raise TypeError(f"a floating-point tensor is needed, not {x.dtype}: call .float() first")
    return x.float() if x.dtype.itemsize < 4 else x


def curvature(K: float | Tensor) -> float | Tensor:
    """The curvature parameter, a tensor of one element as a scalar.

    Raises:
        ValueError: ``K`` is a number, and not positive and finite. A tensor's values are not
            checked, since reading them would wait for the device.
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
    """K as it broadcasts with coordinates: one K for each point gets an axis for them."""
    return K.unsqueeze(-1) if isinstance(K, Tensor) and K.ndim else K
