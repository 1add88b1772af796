"""Speed, memory and agreement of delta-hyperbolicity compared with the public routine.

The public routine is HypLoRA's: one space at a time, the first point as the base point, and the
max-min product by numpy broadcasting, which holds n^3 numbers.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.efficiency.timing import compare, interleave, speed
from bench.geometry.hyperbolicity import distances, relative_deltas
from bench.progress import Progress

PUBLIC, FIRST, ALL = "public routine, first point", "ours, first point", "ours, every point"
SIZES = {64: 512, 512: 1}  # points of a space: number of spaces, as a test set has prompts
DIMENSION = 192  # of the embedded base's embeddings
TOKENS = 64  # of a prompt
CHUNK = 100  # prompts between updates of the progress


def public_relative_delta(matrix: np.ndarray) -> float:
    """``2 delta / diameter`` of distances ``(n, n)``, with the first point as the base point."""
    row = matrix[0]
    products = (row[:, None] + row[None, :] - matrix) / 2
    through = np.minimum(products[:, :, None], products[None, :, :]).max(axis=1)
    return float(2 * (through - products).max() / matrix.max())


def measure_hyperbolicity(prompts: int, rounds: int) -> dict[str, Any]:
    """Time both routines on the same float32 distances of Gaussian points, in turn.

    For `prompts` prompts of TOKENS tokens the delta of all base points is timed once, including the
    distances.

    Returns:
        Plain data: for each size and routine seconds per space, the ratio of its speed to the
        public one's (median and quartiles), its peak memory, and the largest difference from it;
        and the seconds for all prompts.
    """
    return {
        "sizes": [_size(points, count, rounds) for points, count in SIZES.items()],
        "prompts": prompts,
        "tokens": TOKENS,
        "dimension": DIMENSION,
        "seconds": _all_prompts(prompts),
    }


def _size(points: int, count: int, rounds: int) -> dict[str, Any]:
    routines = _routines(count, points)
    found = {name: routine() for name, routine in routines.items()}
    seconds = interleave("delta vs. the public routine", routines, rounds)
    return {
        "points": points,
        "spaces": count,
        "routines": {
            name: {
                "seconds": timing["median"] / count,
                **speed(timing),
                "peak_bytes": _peak(name, points),
            }
            for name, timing in compare(seconds, PUBLIC).items()
        },
        "difference": max(abs(a - b) for a, b in zip(found[PUBLIC], found[FIRST], strict=True)),
    }


def _routines(count: int, points: int) -> dict[str, Callable[[], list[float]]]:
    spaces = [distances(cloud) for cloud in _clouds(count, points)]
    arrays = [space.numpy() for space in spaces]
    return {
        PUBLIC: lambda: [public_relative_delta(array) for array in arrays],
        FIRST: lambda: relative_deltas(spaces, "first", "precomputed"),
        ALL: lambda: relative_deltas(spaces, "all", "precomputed"),
    }


def _clouds(count: int, points: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(points)
    return list(torch.randn(count, points, DIMENSION, generator=generator))


def _all_prompts(prompts: int) -> float:
    """Seconds for the delta of all base points of all prompts."""
    clouds = _clouds(prompts, TOKENS)
    with Progress("delta of every base point", prompts, "prompt") as bar:
        start = time.perf_counter()
        for first in range(0, prompts, CHUNK):
            part = clouds[first : first + CHUNK]
            relative_deltas(part, "all")
            bar.update(len(part))
        return time.perf_counter() - start


def _peak(name: str, points: int) -> int:
    """Bytes that a routine allocates for one space, measured in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_growth, name, points).result()


def _growth(name: str, points: int) -> int:
    """By how much the peak memory of this process grows for one space."""
    torch.set_num_threads(1)
    small, large = _routines(1, 8), _routines(1, points)
    small[name]()  # loads what the first call needs
    before = _peak_memory()
    large[name]()
    return _peak_memory() - before


def _peak_memory() -> int:
    """Peak memory of this process in bytes.

    On Linux from /proc: `getrusage` starts with the parent's there.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
