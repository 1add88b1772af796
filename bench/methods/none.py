"""The base model without an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def config(options: Mapping[str, Any]) -> None:
    """No adapter, so no configuration."""
    return None
