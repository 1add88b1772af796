"""How fast delta-hyperbolicity is beside the public routine, in what memory, and how near to it.

The public routine is HypLoRA's, written out plainly: one space at a time, the first point as the
base point, and the max-min product of numpy broadcasts, which holds n^3 numbers.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.efficiency.timing import compare, interleave
from bench.geometry.hyperbolicity import distances, relative_deltas
from bench.progress import Progress

if TYPE_CHECKING:
    import numpy

PUBLIC, FIRST, ALL = "public routine, first point", "ours, first point", "ours, every point"
SIZES = {64: 512, 512: 1}  # points of a space: how many spaces, as a test set has prompts
DIMENSION = 192  # of the embedded base's embeddings
TOKENS = 64  # of a prompt
CLOCKED = 100  # prompts between two words of progress


def public_relative_delta(matrix: numpy.ndarray) -> float:
    """``2 delta / diameter`` of distances ``(n, n)``, with the first point as the base point."""
    import numpy as np

    row = matrix[0]
    products = (row[:, None] + row[None, :] - matrix) / 2
    through = np.minimum(products[:, :, None], products[None, :, :]).max(axis=1)
    return float(2 * (through - products).max() / matrix.max())


def measure_hyperbolicity(prompts: int, rounds: int) -> dict[str, Any]:
    """Time both routines on the same float32 distances of Gaussian points, in turn.

    Args:
        prompts: of TOKENS tokens, whose delta of every base point is taken once, distances
            included.
        rounds: figures for each routine and size.

    Returns:
        Plain data: for each size and routine seconds a space, the ratio to the public one's (median
        and quartiles), the memory that it needs at most, and the largest difference from it; and
        the seconds for all prompts.
    """
    sizes = []
    with Progress("delta beside the public routine", len(SIZES) * rounds * 3, "figure") as progress:
        for points, count in SIZES.items():
            sizes.append(_size(points, count, rounds, lambda: progress.update(1)))
    return {
        "sizes": sizes,
        "prompts": prompts,
        "tokens": TOKENS,
        "dimension": DIMENSION,
        "seconds": _all_prompts(prompts),
    }


def _size(points: int, count: int, rounds: int, told: Callable[[], object]) -> dict[str, Any]:
    spaces = [distances(cloud) for cloud in _clouds(count, points)]
    works = _works(spaces)
    found = {name: work() for name, work in works.items()}
    timings = compare(interleave(works, rounds, {}, torch.device("cpu"), told=told), PUBLIC)
    return {
        "points": points,
        "spaces": count,
        "routines": {
            name: {
                "seconds": timing.median / count,
                "ratio": 1 / timing.ratio,
                "ratio_low": 1 / timing.ratio_high,
                "ratio_high": 1 / timing.ratio_low,
                "peak_bytes": _peak(name, points),
            }
            for name, timing in timings.items()
        },
        "difference": max(abs(a - b) for a, b in zip(found[PUBLIC], found[FIRST], strict=True)),
    }


def _works(spaces: list[torch.Tensor]) -> Mapping[str, Callable[[], list[float]]]:
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
    """Seconds for the delta of every base point of so many prompts."""
    clouds = _clouds(prompts, TOKENS)
    with Progress("delta of every base point", prompts, "prompt") as progress:
        began = time.perf_counter()
        for start in range(0, prompts, CLOCKED):
            part = clouds[start : start + CLOCKED]
            relative_deltas(part, "all")
            progress.update(len(part))
        return time.perf_counter() - began


def _peak(name: str, points: int) -> int:
    """Bytes that a routine takes beside one space, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_grown, name, points).result()


def _grown(name: str, points: int) -> int:
    """By how much this process grows for one space."""
    torch.set_num_threads(1)
    small, large = (_works([distances(cloud) for cloud in _clouds(1, n)]) for n in (8, points))
    small[name]()  # what is loaded at the first call only
    before = _most()
    large[name]()
    return _most() - before


def _most() -> int:
    """The most memory that this process has held, in bytes.

    Linux lets a process begin with its parent's in `getrusage`, and has its own in /proc.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
