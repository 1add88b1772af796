"""The base model as it is: the row that every method is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def config(options: Mapping[str, Any]) -> None:
    """No adapter, so no configuration."""
    return None
