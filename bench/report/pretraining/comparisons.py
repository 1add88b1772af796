"""Each model against its Euclidean twins: same seeds, same text, same order.

The difference in bits per byte is tested over seeds and over documents; the comparisons of a
report are one family for Holm's correction. Bits per byte are a ratio, total bits over total bytes,
and its variance over documents is that of its linearisation (Cochran, Sampling Techniques, 1977,
chapter 6): see `linearised`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.report.comparison import BITS, Comparison, compare, judge
from bench.report.selection import Group, Selection
from bench.report.statistics.variance import Array


def comparisons_of(selection: Selection) -> tuple[Comparison, ...]:
    """The requested comparisons between rows that have runs; below 0, the row is better."""
    by_key = {row.key: row for row in selection.groups}
    found = [
        _compare(contrast.heading, by_key[contrast.row], by_key[contrast.reference])
        for contrast in selection.sweep.contrasts
        if contrast.row in by_key and contrast.reference in by_key
    ]
    return tuple(judge(found))


def _compare(heading: str, row: Group, twin: Group) -> Comparison:
    asked = Comparison(heading, row.key, twin.key, row.label, twin.label, BITS.key, BITS.key)
    by_seed = [{run["seed"]: run for run in each.records} for each in (row, twin)]
    seeds = [seed for seed in by_seed[0] if seed in by_seed[1]]
    bits: list[list[np.ndarray]] = [[], []]
    for seed in seeds:
        pair = [runs[seed] for runs in by_seed]
        ours, theirs = (run["training"] for run in pair)
        if ours["order"] != theirs["order"]:
            return replace(asked, why=f"seed {seed}: not trained on the same tokens in one order")
        same_text = pair[0]["text"] == pair[1]["text"]
        if not same_text or ours["blocks"]["bytes"] != theirs["blocks"]["bytes"]:
            return replace(asked, why=f"seed {seed}: not the same documents")
        if len(ours["blocks"]["bits"]) < 2:
            return replace(asked, why="a single document")
        for runs, training in zip(bits, (ours, theirs), strict=True):
            runs.append(linearised(**training["blocks"]))
    one, other = map(np.array, bits)
    return compare(asked, [one], [other], [1.0], seeds)


def linearised(bits: Sequence[float], bytes: Sequence[float]) -> Array:
    """Values whose mean is the ratio R of total bits to total bytes, `(documents,)`.

    With b the mean of the bytes, a document has `R + (bits - R bytes) / b`: the variance of the
    mean of these values over documents is the ratio's, to first order. In a difference of two
    models on the same documents, documents are paired and a constant rate per byte cancels; bits
    alone would vary with the documents' lengths.
    """
    found, sizes = np.array(bits), np.array(bytes)
    ratio = found.sum() / sizes.sum()
    return ratio + (found - ratio * sizes) / sizes.mean()
