from statistics import fmean

import pytest

from bench.names import method_label
from bench.report.scores import Benchmark, ScoreRow, ScoreTable
from bench.report.selection import Group, Selection
from bench.report.spec import FIGURES, TableSpec
from bench.report.tables import Cell, RunValue


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
    """A score table of records; those of one method and curvature are a row."""

    def make(records, comparisons=(), chance=None, **spec):
        groups = {}
        for record in records:
            groups.setdefault((record["method"], record["curvature"]), []).append(record)
        methods = [method for method, _ in groups]
        rows = []
        for (method, curvature), runs in groups.items():
            label = method_label(method, curvature if methods.count(method) > 1 else None)
            cells = {key: cell(runs, [key]) for key in runs[0]["scores"]}
            cells |= {"micro": cell(runs, cells), "macro": cell(runs, cells)}
            seconds, trainable = runs[0]["seconds"], runs[0]["parameters"]["trainable"]
            times = {f"{key}_seconds": seconds[key] for key in ("finetune", "evaluate")}
            found = ScoreRow(
                label, label, method, curvature, tuple(runs), cells, trainable, **times
            )
            rows.append(found)
        spec = TableSpec(**{"name": "toy", "title": "Toy", "figures": FIGURES} | spec)
        scores = records[0]["scores"].items()
        return ScoreTable(
            selection=Selection(spec, tuple(Group(r.key, r.label, r.records) for r in rows)),
            benchmarks=tuple(Benchmark(k, s["label"], s["n"], chance) for k, s in scores),
            averages=("micro", "macro"),
            rows=tuple(rows),
            comparisons=tuple(comparisons),
        )

    return make


def cell(runs, keys):
    """Their mean accuracy with an interval of ten points."""
    values = [fmean(run["scores"][key]["accuracy"] for key in keys) for run in runs]
    mean = fmean(values)
    found = tuple(RunValue(run["seed"], value) for run, value in zip(runs, values, strict=True))
    return Cell(mean, sd=1.0, low=mean - 5, high=mean + 5, n=100, runs=found)


@pytest.fixture
def drawn():
    """All rows of data in a figure's specification."""

    def rows(figure):
        found = []

        def visit(part):
            if isinstance(part, dict):
                found.extend(part.get("data", {}).get("values", ()))
                for child in part.values():
                    visit(child)
            elif isinstance(part, list):
                for child in part:
                    visit(child)

        visit({key: value for key, value in figure.spec.items() if key != "config"})
        return found

    return rows
