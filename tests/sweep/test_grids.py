"""What a report reads of the sweep files, and the commands that it tells."""

import dataclasses
import shlex

import pytest

from bench.sweep.grids import command, read_grids, table_specs
from tests.report.many_runs import run_of


def record_of(experiment):
    """As much of a run's record as a report holds against a sweep."""
    config = dataclasses.asdict(experiment)
    return run_of(experiment.method.name, 0, model=experiment.model.name) | {
        "config": config,
        "train": config["train"] | {"precision": "32-true"},
        "options": experiment.method.options,
        "data": experiment.data.source,
        "protocol": experiment.protocol.name,
        "model": experiment.model.name,
    }


def grids_of(*records):
    return {(grid.sweep, grid.base, grid.preset): grid for grid in read_grids(records)}


def test_a_sweep_file_s_rows_are_those_that_the_sweep_would_run(compose):
    found = grids_of(record_of(compose("method=lora")))
    table2 = found["table2", "tiny", "default"]
    assert (table2.model, table2.data, table2.protocol) == ("tiny", "synthetic", "fast")
    assert (table2.seeds, table2.seeds_first, table2.total) == ((0, 1, 2), True, 19)
    for row in table2.rows:
        experiment = compose(*row.arguments)
        assert row.method == experiment.method.name and row.options == experiment.method.options
        assert row.trained == experiment.trained
        assert row.train == (dataclasses.asdict(experiment.train) if row.trained else {})
    assert len(found["ablation", "tiny", "default"].rows) == 18
    assert [row.curvature for row in found["curvature", "tiny", "default"].rows] == [0.1, 0.5, 1, 2]
    assert found["tuned", "tiny", "default"].rows == ()  # its winners are not known before


def test_a_run_of_the_sweep_is_of_one_row_and_one_with_another_setting_of_none(compose):
    rows = grids_of(record_of(compose()))["table2", "tiny", "default"].rows
    for overrides, count in (
        (("method=hyplora",), 1),
        (("method=none",), 1),
        (("method=hyplora", "curvature=0.5"), 0),
        (("method=lora", "method.r=8"), 0),
        (("method=lora", "train.epochs=1"), 0),
        (("method=lora", "train.micro_batch_size=2"), 1),  # changes no result
    ):
        assert sum(row.matches(record_of(compose(*overrides))) for row in rows) == count, overrides


def test_sets_that_no_run_was_scored_on_are_asked_by_no_grid(compose):
    assert not any(sweep == "commonsense" for sweep, *_ in grids_of(record_of(compose())))
    assert "commonsense" in table_specs()


def test_options_and_rates_are_those_of_the_base(compose):
    found = grids_of(run_of(), run_of(model="some-7b"))
    rates = [found["table2", base, "default"].rows[0].train["lr"] for base in ("tiny", "some-7b")]
    assert rates == [3e-3, 3e-4]


@pytest.mark.slow
def test_presets_are_read_where_some_run_was_trained_with_one(compose):
    presets = {preset for *_, preset in grids_of(record_of(compose("method=lora")))}
    assert presets == {"default"}
    found = grids_of(record_of(compose("train=paper", "method=lora")))
    rows = found["table2", "tiny", "paper"].rows
    assert {row.method: row.train["epochs"] for row in rows if row.trained}["prefix"] == 5
    assert any(row.matches(record_of(compose("train=paper", "method=prefix"))) for row in rows)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("train.epochs=1", "data.tests=[mawps,SVAMP]", "data.train_size=16", "data.limit=3"),
        ("protocol=paper", "protocol.style=llama3", "train=paper"),
        ("data=math10k", "data.root=/some/where else", "protocol.max_new_tokens=24"),
        ("protocol.train_prompt='Q: {instruction} = A:'",),
        ("model=llama3-8b", "model.quantization=int8", "model.published='Mine (7B)'"),
    ],
)
def test_the_command_for_a_missing_run_makes_one_like_those_that_are_there(compose, overrides):
    there = compose("method=lora", *overrides)
    record = record_of(there)
    preset = "paper" if "train=paper" in overrides else "default"
    grid = grids_of(record)["table2", record["model"], preset]
    row = next(row for row in grid.rows if row.method == "dora")
    typed = shlex.split(command(grid, row, (1,), record))
    assert typed[:3] == ["python", "bench/run.py", "+sweep=table2"]
    missing = compose(*typed[2:])
    assert (missing.method.name, missing.seed) == ("dora", 1)
    for section in ("model", "data", "protocol", "evaluation"):
        assert getattr(missing, section) == getattr(there, section), section
    wanted = compose("method=dora", "seed=1", *overrides)
    assert missing.train == wanted.train and missing.method == wanted.method


def test_a_command_says_no_more_than_it_must(compose):
    record = record_of(compose("method=lora"))
    grid = grids_of(record)["ablation", "tiny", "default"]
    assert command(grid, None, (), record) == "python bench/run.py +sweep=ablation"
    assert command(grid, grid.rows[1], (0, 2), record) == (
        "python bench/run.py +sweep=ablation method=hyplora "
        "'method.target_modules=[down_proj]' seed=0,2"
    )
