import pytest

from bench.report import TableSpec, build
from bench.report.figures.subject import Subject


@pytest.fixture
def training():
    """What a record says of a training; `start` is where its losses begin."""

    def make(start=4.0, steps=100, peak_bytes=None, gates=None):
        losses = [[step, start / (1 + step)] for step in range(steps)]
        validation = [[steps // 2, start / 3], [steps, start / 5]]
        made = {"losses": losses, "validation": validation, "peak_bytes": peak_bytes}
        return made | ({"gates": gates} if gates else {})

    return make


@pytest.fixture
def subject():
    """A table and its runs, as a figure takes them."""

    def make(runs, **spec):
        spec = TableSpec(name="toy", title="Toy", **spec)
        return Subject.of(build(runs, spec), runs, spec)

    return make
