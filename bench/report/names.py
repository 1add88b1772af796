"""`bench.names`, for the modules here."""

from bench.names import (
    curvature_label,
    curvature_rank,
    key_of,
    method_label,
    method_rank,
    plain_curvature,
)

__all__ = [
    "curvature_label",
    "curvature_rank",
    "key_of",
    "method_label",
    "method_rank",
    "plain_curvature",
]
