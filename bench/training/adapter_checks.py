"""Checks of a saved adapter's configuration, which may come from anybody, before peft uses it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import InputError

SECONDS = 10.0  # for all patterns and all layers, which takes milliseconds
# peft allocates and initialises an adapter before it reads its weights.
LARGEST = {"r": 8192, "bottleneck_size": 8192, "encoder_hidden_size": 65536}
PREFIX_NUMBERS = 2**30
ITERATIONS = 100
PATTERNS = ("target_modules", "exclude_modules", "layers_pattern")
PATTERNS_BY_LAYER = ("rank_pattern", "alpha_pattern", "curvature_pattern")

# As peft matches them; an invalid pattern is left to peft's own message.
MATCH = r"""
import json, re, sys
patterns, names = json.load(sys.stdin)
for pattern in patterns:
    try:
        for name in names:
            re.match(rf"(.*\.)?({pattern})$", name)
    except (re.error, RecursionError):
        pass
"""


def check_sizes(folder: Path, saved: Mapping[str, Any], blocks: int) -> None:
    """Refuse a configuration that would take much memory or time, or import a module.

    Args:
        folder: the adapter's folder.
        saved: the adapter's configuration.
        blocks: number of blocks of the base.
    """
    ranks = saved.get("rank_pattern") or {}
    given = {key: saved.get(key) for key in LARGEST} | (
        {f"rank_pattern[{key!r}]": value for key, value in ranks.items()}
        if isinstance(ranks, dict)
        else {}
    )
    for key, value in given.items():
        limit = LARGEST.get(key, LARGEST["r"])
        if isinstance(value, int | float) and not value <= limit:
            raise InputError(f"adapter={folder}: its {key} is {value}: at most {limit} is allowed")
    prefix = [saved.get(key) for key in ("num_virtual_tokens", "num_layers", "token_dim")]
    if math.prod(n for n in prefix if isinstance(n, int)) > PREFIX_NUMBERS:
        raise InputError(f"adapter={folder}: its prefix of {prefix} numbers is too large")
    start = str(saved.get("init_lora_weights"))
    iterations = start.rpartition("_niter_")[2]
    if "_niter_" in start and not (iterations.isdecimal() and int(iterations) <= ITERATIONS):
        raise InputError(
            f"adapter={folder}: its init_lora_weights is {start:.50}: at most {ITERATIONS} "
            "iterations are allowed"
        )
    try:
        copies = sum(int(end) - int(first) for first, end in saved.get("layer_replication") or [])
    except (TypeError, ValueError):
        copies = math.inf
    if copies > 4 * blocks:
        raise InputError(
            f"adapter={folder}: its layer_replication makes {copies} blocks of {blocks}: at most "
            "four times as many are allowed"
        )
    if saved.get("megatron_config"):
        raise InputError(f"adapter={folder}: megatron_config is not supported")


def check_patterns(folder: Path, saved: Mapping[str, Any], names: list[str]) -> None:
    """Refuse regular expressions that take too long to match the names of a base's layers.

    Another process matches them, because `re` has no time limit.
    """
    values = [saved.get(key) for key in PATTERNS]
    patterns = [value for value in values if isinstance(value, str)]
    for value in (values[-1], *(saved.get(key) for key in PATTERNS_BY_LAYER)):
        patterns += map(str, value) if isinstance(value, list | dict) else []
    if not patterns:
        return
    try:
        subprocess.run(
            [sys.executable, "-I", "-c", MATCH],
            input=json.dumps([patterns, names]),
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        longest = max(patterns, key=len)
        raise InputError(
            f"adapter={folder}: the regular expressions in its adapter_config.json, such as "
            f"{longest!r:.60}, take more than {SECONDS:.0f} s to match"
        ) from None
