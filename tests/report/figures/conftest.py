from dataclasses import replace

import pytest

from bench.report.score_table import score_table
from bench.report.spec import FIGURES
from tests.report.score_runs import SPEC, selection


@pytest.fixture
def training():
    """The training part of a record; `start` is the first loss."""

    def make(start=4.0, steps=100, peak_bytes=None, gates=None):
        losses = [[step, start / (1 + step)] for step in range(steps)]
        validation = [[steps // 2, start / 3], [steps, start / 5]]
        made = {"losses": losses, "validation": validation, "peak_bytes": peak_bytes}
        return made | ({"gates": gates} if gates else {})

    return make


@pytest.fixture
def table():
    """A score table of records, whose rows have their label as key."""

    def make(records, comparisons=()):
        chosen = selection(records, replace(SPEC, figures=FIGURES), contrasts=())
        groups = tuple(replace(group, key=group.label) for group in chosen.groups)
        made = score_table(replace(chosen, groups=groups))
        return replace(made, comparisons=tuple(comparisons))

    return make


@pytest.fixture
def drawn():
    """All rows of data in a figure's specification."""

    def rows(part):
        if isinstance(part, dict):
            return [*part.get("data", {}).get("values", ()), *rows(list(part.values()))]
        return [row for child in part for row in rows(child)] if isinstance(part, list) else []

    return lambda figure: rows({k: v for k, v in figure.spec.items() if k != "config"})
