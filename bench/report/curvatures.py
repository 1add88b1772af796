"""Which K the layers of a row have where no one number says it: measured and learned ones."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from bench.report.records import Record
from bench.tracking.record import gates_by_module

MEASURED = "auto"
RULE = (
    "K=auto: each layer's own K, (delta_rel / 0.144)² of its inputs on validation prompts, where "
    "delta_rel is their relative delta-hyperbolicity. Training leaves it as it is unless a line "
    "below says otherwise."
)


def curvature_notes(groups: Sequence[Sequence[Record]], labels: Sequence[str]) -> list[str]:
    """Lines under a table: what `auto` is, and K by module type where layers differ in it.

    Args:
        groups: the runs of each row.
        labels: of the rows.
    """
    notes = []
    if any(run.get("curvature") == MEASURED for runs in groups for run in runs):
        notes.append(RULE)
    for runs, label in zip(groups, labels, strict=True):
        start, end = (_by_module(runs, when) for when in ("start", "end"))
        if not start or start.keys() != end.keys():
            continue
        measured = any(run.get("curvature") == MEASURED for run in runs)
        learned = any(abs(end[module] - K) > 1e-6 for module, K in start.items())
        if measured or learned:
            told = ", ".join(
                f"{module} {K:.2f}" + (f" → {end[module]:.2f}" if learned else "")
                for module, K in start.items()
            )
            how = "before → after training" if learned else "as measured"
            notes.append(f"K of {label}, mean over layers and seeds, {how}: {told}.")
    return notes


def _by_module(runs: Sequence[Record], when: str) -> dict[str, float]:
    """K by module type; empty where a run's record does not tell it."""
    summaries = [
        gates_by_module(((run.get("training") or {}).get("gates") or {}).get(when) or [])
        for run in runs
    ]
    modules = list(summaries[0])
    if not all("curvature" in run.get(module, {}) for run in summaries for module in modules):
        return {}
    return {module: fmean(run[module]["curvature"] for run in summaries) for module in modules}
