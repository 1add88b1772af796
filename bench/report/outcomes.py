"""The value of each item in each run, which means and tests are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.cases import Predictions
from bench.report.comparison import ACCURACY, NLL, Measure
from bench.report.records import Record
from bench.report.selection import Group
from bench.report.statistics.clusters import by_cluster
from bench.report.statistics.variance import Array

Outcomes = Mapping[str, Array]  # by benchmark, `(seeds, items)`


# By the key of a row: the values of items, and those of independent items or clusters of items.
Sample = tuple[Mapping[str, Outcomes], Mapping[str, Outcomes]]


def samples_of(
    groups: Sequence[Group], keys: Sequence[str], predictions: Predictions
) -> dict[Measure, Sample]:
    """The values of each measure that the runs have.

    NLL is of the items that have one in all runs. It is left out if a run has none, or if one of
    the benchmarks, `keys`, would have fewer than two items.
    """
    scores = groups[0].records[0]["scores"]
    clusters = {key: _numbers(scores[key].get("clusters"), slice(None)) for key in keys}
    correct = {g.key: {key: _correct(g.records, key) for key in keys} for g in groups}
    found = {ACCURACY: _sample(correct, clusters)}
    if all(has_nll(run) for group in groups for run in group.records):
        by_row = {
            g.key: [_nll(run, predictions(run["run_id"])) for run in g.records] for g in groups
        }
        known = {
            key: np.all([np.isfinite(run[key]) for runs in by_row.values() for run in runs], axis=0)
            for key in keys
        }
        if all(have.sum() > 1 for have in known.values()):
            found[NLL] = _sample(
                {
                    row: {key: np.array([run[key][known[key]] for run in runs]) for key in keys}
                    for row, runs in by_row.items()
                },
                {key: _numbers(scores[key].get("clusters"), known[key]) for key in keys},
            )
    return found


def _sample(values: Mapping[str, Outcomes], clusters: Mapping[str, Array | None]) -> Sample:
    return values, {
        row: {
            key: found if (numbers := clusters[key]) is None else by_cluster(found, numbers)
            for key, found in outcomes.items()
        }
        for row, outcomes in values.items()
    }


def _numbers(clusters: Sequence[int] | None, known: Any) -> Array | None:
    """Cluster numbers of the known items, without gaps."""
    if not clusters:
        return None
    return np.unique(np.asarray(clusters)[known], return_inverse=True)[1]


def has_nll(run: Record) -> bool:
    """Whether a run measured the likelihood of the reference answers."""
    return any(value is not None for value in (run.get("nll") or {}).values())


def _correct(runs: Sequence[Record], key: str) -> Array:
    texts = [run["scores"][key]["outcomes"] for run in runs]
    digits = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8)
    return digits.reshape(len(texts), -1).astype(float) - ord("0")


def _nll(run: Record, lines: Iterable[Mapping[str, Any]]) -> dict[str, Array]:
    """The NLL of each item by benchmark; NaN if it has none."""
    found = {key: np.full(score["n"], np.nan) for key, score in run["scores"].items()}
    for line in lines:
        if line.get("nll") is not None:
            found[line["task"]][line["index"]] = line["nll"]
    return found
