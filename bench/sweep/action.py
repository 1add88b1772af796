"""action=tune without a sweep."""

from __future__ import annotations

from typing import Any

from bench.errors import InputError


def tune(config: dict[str, Any]) -> dict[str, Any]:
    """Refuse: the sweep of a table is tuned, see `bench.sweep.tune`."""
    raise InputError("action=tune tunes the rows of a table: give +sweep=NAME as well")
