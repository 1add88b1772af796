"""Each model against its Euclidean twin: same seeds, same text, same order.

The difference in bits per byte is tested over seeds and over held-out documents; the comparisons
of a report are one family for Holm's correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.report.comparison import Comparison, compare, judge
from bench.report.pretraining.rows import PretrainedRow
from bench.tracking.sweeps import Contrast

COLUMN = "bits_per_byte"


def comparisons_of(
    rows: Sequence[PretrainedRow], contrasts: Sequence[Contrast]
) -> tuple[Comparison, ...]:
    """The comparisons asked for between rows that have runs; below 0 the row is better."""
    by_key = {row.key: row for row in rows}
    found = [
        _compare(contrast.heading, by_key[contrast.row], by_key[contrast.reference])
        for contrast in contrasts
        if contrast.row in by_key and contrast.reference in by_key
    ]
    return tuple(judge(found, lower_is_better=True))


def _compare(heading: str, row: PretrainedRow, twin: PretrainedRow) -> Comparison:
    asked = Comparison(heading, row.key, twin.key, row.label, twin.label, COLUMN)
    seeds = [seed for seed in row.records if seed in twin.records]
    bits: list[list[np.ndarray]] = [[], []]
    for seed in seeds:
        ours, theirs = (each.records[seed]["training"] for each in (row, twin))
        if ours["order"] != theirs["order"]:
            return replace(asked, why=f"seed {seed}: not trained on the same tokens in one order")
        if ours["blocks"]["bytes"] != theirs["blocks"]["bytes"]:
            return replace(asked, why=f"seed {seed}: not the same held-out text")
        if len(ours["blocks"]["bits"]) < 2:
            return replace(asked, why="a single held-out document")
        for runs, training in zip(bits, (ours, theirs), strict=True):
            # Bits of each held-out document, scaled so that their mean is bits per byte.
            found = np.array(training["blocks"]["bits"])
            runs.append(found * len(found) / sum(training["blocks"]["bytes"]))
    one, other = map(np.array, bits)
    return compare(asked, [one], [other], [1.0], seeds, unit=1.0)
