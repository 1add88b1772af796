"""What settings of a pretraining are chosen by: bits per byte of the validation documents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

VALIDATION = "evaluation.split=validation"  # with which a run never reads a test document


def validation_value(record: Mapping[str, Any]) -> float:
    """Bits per byte of a finished run on the validation documents; lower is better.

    Raises:
        ValueError: the run was evaluated on test documents, or the value is not finite.
    """
    if record["split"] != "validation":
        raise ValueError(
            f"the run was evaluated on {record['split']} documents, on which nothing is chosen: "
            f"give {VALIDATION}"
        )
    value = float(record["training"]["bits_per_byte"])
    if not math.isfinite(value):
        raise ValueError(f"bits per byte are {value}")
    return value
