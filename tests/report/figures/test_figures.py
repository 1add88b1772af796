"""The figures of a score table."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import vl_convert

from bench.report import figures
from bench.report.comparison import Comparison
from bench.report.figure import page_spec
from bench.report.spec import FIGURES
from tests.report.score_runs import SETS, finished

METHODS = ("lora", "hyplora")


def gates(mean):
    facts = {"median": mean, "variation": 0.0, "largest": 2 * mean, "clamped": 0.0}
    names = ("q_proj", "down_proj")
    return [{"layer": f"layers.3.{n}", "module": n, "mean": mean, **facts} for n in names]


def compared(row, column="micro", **changes):
    given = {"verdict": "worse", "difference": -2.0, "low": -3.0, "high": -1.0, "seeds": (0, 1, 2)}
    return Comparison("vs. LoRA", row, "LoRA", row, "LoRA", column, **given | changes)


@pytest.fixture
def full(table, training):
    """A table with the facts for every figure."""
    moments = {"start": gates(0.1), "end": gates(0.3)}
    runs = [finished("none", correct=(1, 2))]
    runs += [finished(seed=seed, training=training()) for seed in (0, 1)]
    runs += [
        finished("hyplora", curvature=k, seed=seed, training=training(gates=moments))
        for k in (0.5, 1.0)
        for seed in (0, 1)
    ]
    comparisons = [compared("HypLoRA (K=1.0)", column) for column in ("micro", "mawps", "SVAMP")]
    comparisons += [
        compared("HypLoRA (K=0.5)", verdict="n.s. (too few seeds)", low=None, high=None),
        compared("base model"),
        compared("HypLoRA (K=0.5)", "mawps", difference=None),
    ]
    for run in runs:
        run["scores"]["mawps"]["chance"] = 20.0
    return table(runs, comparisons)


def figure(name):
    return import_module(f"bench.report.figures.{name}").figure


def test_every_figure_of_a_table_is_a_name_that_sweep_files_may_use():
    files = {path.stem for path in Path(figures.__file__).parent.glob("*.py")}
    assert files - {"__init__", "common", "efficiency"} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_if_there_are_facts(full, name):
    made = figure(name)(full)
    assert made.name == name
    assert made.title and made.caption.endswith(".")
    assert vl_convert.vegalite_to_svg(page_spec(made)).count("<path") > 2


def test_figures_are_titled_after_their_table(full):
    titles = [made.title for made in figures.table_figures(full)]
    assert len(titles) == len(FIGURES) and all(title.startswith("Toy: ") for title in titles)


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("accuracy", "cost")])
def test_a_figure_without_facts_is_not_drawn(table, name):
    bare = table([finished(training={}), finished("hyplora", curvature=1.0, training={})])
    assert figure(name)(bare) is None


@pytest.mark.parametrize(
    ("right", "seeds", "level"),
    [
        ((0, 0), (0,), 0.0),
        ((100, 300), (0, 1, 2), 0.0),
        ((0,), (0,), 2.0),
    ],
)
def test_rows_that_are_equal_or_all_zero_are_drawn(table, training, right, seeds, level):
    sets = dict(list(SETS.items())[: len(right)])
    moments = dict.fromkeys(("start", "end"), gates(level))
    part = training(start=level, steps=3, gates=moments) | {"padding": 0.0}
    runs = [
        finished("hyplora", seed, right, k, sets, training=part)
        for k in (0.5, 1.0)
        for seed in seeds
    ]
    alike = {"verdict": "n.s.", "difference": 0.0, "low": 0.0, "high": 0.0}
    found = table(runs, [compared("HypLoRA (K=0.5)", "mawps", **alike)])
    made = {name: figure(name)(found) for name in FIGURES}
    empty = {name for name, one in made.items() if one is None}
    assert empty == (set() if level else {"gates", "training"})
    for one in filter(None, made.values()):
        assert "NaN" not in vl_convert.vegalite_to_svg(one.spec), one.name


def test_accuracy_has_seeds_means_intervals_and_chance(full, drawn):
    facts = drawn(figure("accuracy")(full))
    lora = [fact for fact in facts if fact.get("row") == "LoRA" and fact["benchmark"] == "MAWPS"]
    assert (lora[0]["mean"], lora[0]["runs"]) == (90.0, 2)
    assert lora[0]["low"] < 90 < lora[0]["high"]
    assert [(fact["seed"], fact["accuracy"]) for fact in lora[1:]] == [(0, 90.0), (1, 90.0)]
    assert {"benchmark": "MAWPS", "chance": 20.0} in facts
    assert "95% interval" in figure("accuracy")(full).caption


def test_curvatures_are_those_of_methods_with_several(full, drawn):
    facts = drawn(figure("curvature")(full))
    assert {(fact["method"], fact["K"]) for fact in facts} == {("HypLoRA", 0.5), ("HypLoRA", 1.0)}


def test_differences_leave_out_rows_that_train_nothing_or_were_not_compared(full, drawn):
    facts = [fact for fact in drawn(figure("differences")(full)) if "comparison" in fact]
    assert [(fact["comparison"], fact["benchmark"]) for fact in facts] == [
        ("HypLoRA (K=1.0) − LoRA", "micro average"),
        ("HypLoRA (K=1.0) − LoRA", "MAWPS"),
        ("HypLoRA (K=1.0) − LoRA", "SVAMP"),
        ("HypLoRA (K=0.5) − LoRA", "micro average"),
    ]
    assert "low" not in facts[-1] and facts[0]["seeds"] == 3


def test_differences_of_each_measure_have_panels_and_an_axis_of_their_own(table, drawn):
    nll = {"measure": "nll", "difference": 0.2, "low": 0.1, "high": 0.3}
    made = table([finished(), finished("dora")], [compared("DoRA"), compared("DoRA", **nll)])
    found = figure("differences")(made)
    assert [fact["measure"] for fact in drawn(found) if "measure" in fact] == ["accuracy", "nll"]
    titles = [block["title"] for block in found.spec["vconcat"]]
    assert titles == [
        "accuracy: row − reference (percentage points)",
        "NLL: row − reference (nats per token, lower is better)",
    ]


def test_long_names_of_differences_are_on_two_lines(table):
    def y(row):
        made = figure("differences")(table([finished(), finished("dora")], [compared(row)]))
        return made.spec["vconcat"][0]["spec"]["layer"][1]["encoding"]["y"]["axis"]

    made = table([finished(), finished("hyplora", curvature=1.0)], ())
    long = replace(compared("HypLoRA"), reference_label="LoRA (matched, all but down_proj)")
    found = figure("differences")(replace(made, comparisons=(long,)))
    axis = found.spec["vconcat"][0]["spec"]["layer"][1]["encoding"]["y"]["axis"]
    assert axis["labelExpr"].startswith("[split(datum.label") and axis["labelLimit"] == 250
    assert "labelExpr" not in y("DoRA")


def test_a_small_difference_far_from_zero_has_an_axis_with_labels(table):
    runs = [finished(method) for method in METHODS]
    numbers = {"difference": -4.0, "low": -4.9, "high": -3.1}
    far = [compared("HypLoRA", column, **numbers) for column in ("micro", *SETS)]
    (layers,) = figure("differences")(table(runs, far)).spec["vconcat"]
    assert 0 in layers["spec"]["layer"][1]["encoding"]["x"]["axis"]["values"]


def test_rows_that_differ_in_more_than_k_have_a_line_each(table, drawn):
    runs = [
        finished("hyplora", 0, (50 + 10 * learned, 150), K, options={"learned": learned})
        for K in (0.5, 1.0)
        for learned in (0, 1)
    ]
    made = table(runs)
    rows = [
        replace(row, details=(f"learned {row.first['options']['learned']}",)) for row in made.rows
    ]
    facts = drawn(figure("curvature")(replace(made, rows=tuple(rows))))
    lines = {
        (fact["method"], fact["mean"])
        for fact in facts
        if fact.get("benchmark") == "MAWPS" and "mean" in fact
    }
    assert lines == {("HypLoRA (learned 0)", 50.0), ("HypLoRA (learned 1)", 60.0)}


def test_gates_are_shown_before_and_after_without_what_a_log_scale_lacks(full, drawn):
    facts = drawn(figure("gates")(full))
    (before, after) = [
        fact for fact in facts if fact["module"] == "q_proj" and fact["row"].endswith("0.5)")
    ]
    assert (before["when"], before["mean"], before["largest"]) == ("dashed", 0.1, 0.2)
    assert (after["when"], after["mean"], after["layer"]) == ("solid", 0.3, 3)
    assert "variation" not in after
