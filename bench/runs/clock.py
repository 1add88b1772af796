"""When the command began; all of its processes know it."""

from __future__ import annotations

import os

BEGAN = "HYPLORA_BENCH_BEGAN"  # environment variable, set by run.py in every process


def began() -> float:
    """When the command began, in seconds since the epoch."""
    return float(os.environ[BEGAN])
