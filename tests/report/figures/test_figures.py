"""What all figures of a table have in common."""

from importlib import import_module
from pathlib import Path

import pytest

from bench.report import figures
from bench.report.spec import FIGURES
from bench.report.statistics import BesideReference, PairedDifference


def gates(mean):
    facts = {"median": mean, "variation": 0.1, "largest": 2 * mean, "clamped": 0.0}
    names = ("q_proj", "down_proj")
    return [{"layer": f"layers.0.{n}", "module": n, "mean": mean, **facts} for n in names]


@pytest.fixture
def full(subject, record, training):
    """A subject that has the facts for every figure."""
    import dataclasses

    moments = {"start": gates(0.1), "end": gates(0.3)}
    runs = [record(seed=seed, training=training()) for seed in (0, 1)]
    runs += [
        record("hyplora", curvature=k, seed=seed, training=training(gates=moments))
        for k in (0.5, 1.0)
        for seed in (0, 1)
    ]
    made = subject(runs)
    different = [
        PairedDifference("hyplora", 1.0, "HypLoRA (K=1.0)", "LoRA", key, "worse", -2.0, -3.0, -1.0)
        for key in ("micro", "mawps", "SVAMP")
    ]
    beside = (BesideReference("lora", "Beside LoRA", tuple(different)),)
    return dataclasses.replace(made, table=dataclasses.replace(made.table, beside=beside))


def figure(name):
    return import_module(f"bench.report.figures.{name}")


def test_every_file_that_draws_a_table_is_a_name_that_sweep_files_may_use():
    files = {path.stem for path in Path(figures.__file__).parent.glob("*.py")}
    assert files - {"__init__", "subject", "efficiency"} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_to_print_and_for_the_page(full, name, tmp_path):
    import vl_convert

    figure(name).picture(full).savefig(tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").stat().st_size > 5_000
    charts = figure(name).charts(full)
    assert charts
    for chart in charts:
        assert chart.title and chart.caption.endswith(".")
        assert vl_convert.vegalite_to_vega(chart.spec)["marks"]


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("accuracy", "cost")])
def test_a_figure_without_facts_is_not_drawn(subject, record, name):
    bare = subject([record(training={}), record("hyplora", curvature=1.0, training={})])
    assert figure(name).picture(bare) is None
    assert figure(name).charts(bare) == []


def test_a_method_looks_the_same_in_every_table(subject, record):
    from bench.report.style import method_styles

    few = method_styles(["lora", "hyplora"])
    many = method_styles(["none", "new", "lora", "dora", "newer", "hyplora"])
    assert all(many[method] == few[method] for method in few)
    assert len(set(many.values())) == len(many)


def test_known_methods_and_a_dozen_new_ones_are_told_apart():
    from bench.report.style import METHOD_STYLES, method_styles

    styles = method_styles([*METHOD_STYLES, *(f"new_{i}" for i in range(12))])
    assert len(set(styles.values())) == len(styles)
