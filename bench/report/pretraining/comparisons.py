"""Each model against its Euclidean twin: same seeds, same text, same order.

The difference in bits per byte is tested over seeds and over documents of the held-out text, as
accuracies are over seeds and items (`bench.report.statistics.crossed`). The comparisons of a report
are one family for Holm's correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.report.comparison import BETTER, FEW_SEEDS, NOT_SIGNIFICANT, WORSE, Comparison
from bench.report.pretraining.rows import PretrainedRow
from bench.report.statistics.crossed import LEAST_SEEDS, LEVEL, crossed_test
from bench.report.statistics.holm import holm
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
    corrected = iter(holm([each.p for each in found if each.p is not None]))
    return tuple(each if each.p is None else _judged(each, next(corrected)) for each in found)


def _compare(heading: str, row: PretrainedRow, twin: PretrainedRow) -> Comparison:
    empty = Comparison(heading, row.key, twin.key, row.label, twin.label, COLUMN)
    seeds = tuple(seed for seed in row.records if seed in twin.records)
    if not seeds:
        return replace(empty, why="no seed in common")
    for seed in seeds:
        ours, theirs = (each.records[seed]["training"] for each in (row, twin))
        if ours["order"] != theirs["order"]:
            return replace(empty, why=f"seed {seed}: not trained on the same tokens in one order")
        if ours["blocks"]["bytes"] != theirs["blocks"]["bytes"]:
            return replace(empty, why=f"seed {seed}: not the same held-out text")
    one, other = (
        np.stack([_documents(each.records[seed]["training"]) for seed in seeds])
        for each in (row, twin)
    )
    by_seed = dict(zip(seeds, (one - other).mean(axis=1).tolist(), strict=True))
    difference = float((one - other).mean())
    compared = replace(empty, difference=difference, seeds=seeds, by_seed=by_seed, n=one.shape[1])
    if len(seeds) < LEAST_SEEDS:
        few = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} in common, 3 are needed"
        return replace(compared, verdict=FEW_SEEDS, why=few)
    if one.shape[1] < 2:
        return replace(compared, why="a single held-out document")
    test = crossed_test([one], [other])
    low, high = test.interval()
    return replace(
        compared, verdict=NOT_SIGNIFICANT, low=float(low), high=float(high), p=float(test.p)
    )


def _documents(training: Mapping[str, Any]) -> Any:
    """Bits of each held-out document, scaled so that their mean is bits per byte."""
    blocks = training["blocks"]
    return np.array(blocks["bits"]) * len(blocks["bits"]) / sum(blocks["bytes"])


def _judged(found: Comparison, p: float) -> Comparison:
    if p > LEVEL or found.difference is None:
        return replace(found, p_holm=p)
    return replace(found, p_holm=p, verdict=BETTER if found.difference < 0 else WORSE)
