"""action=overlap: what each training set shares with each test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.config import read_experiment
from bench.data.overlap import count_overlap
from bench.data.problems import Problem, by_task
from bench.data.sources import load_problems
from bench.report.formats import show
from bench.report.overlap_matrix import overlap_report


def overlap(config: dict[str, Any]) -> dict[str, Any]:
    """Count and show; nothing is trained."""
    experiment = read_experiment(config)
    problems = load_problems(experiment.data, trained=True)
    training = problems.train + problems.validation

    def count(rows: Sequence[Problem]) -> dict[str, Any]:
        tests, train = count_overlap(rows, problems.tests)
        return {"rows": len(rows), "tests": tests, "train": train}

    by_set, together = by_task(training), count(training)
    if len(by_set) > 1:
        counts = {name: count(rows) for name, rows in by_set.items()}
    else:
        counts = dict.fromkeys(by_set, together)
    show(overlap_report(counts, together, experiment.keeps_overlap))
    masked, near = together["train"]["masked"], together["train"]["near"]
    fate = "kept" if experiment.keeps_overlap else "dropped"
    return {
        "summary": f"{masked} of {len(training)} training rows are also test rows (exact or "
        f"masked) and are {fate}; {near - masked} more are near-duplicates"
    }
