"""The rows of a table that need no model: chance, and always the most frequent answer."""

import csv
import io
import json

import pytest

from bench.report import TableSpec, build, to_csv, to_json, to_markdown

SPEC = TableSpec(name="toy", title="Toy")


@pytest.fixture
def counted(record):
    """Make a record whose sets have the given chance and majority, in order: (chance, majority)."""

    def make(*figures, **changes):
        run = record(**changes)
        for score, (chance, majority) in zip(run["scores"].values(), figures, strict=True):
            score["chance"] = chance
            if majority is not None:
                score["majority"] = {"answer": "7", "accuracy": majority}
        return run

    return make


def row_of(table, label):
    return next(guess for guess in table.guesses if guess.label == label).cells


def test_chance_and_majority_are_averaged_as_the_sets_are(counted):
    table = build([counted((50.0, 60.0), (20.0, 40.0))], SPEC)
    chance, majority = row_of(table, "chance"), row_of(table, "majority class")
    assert [chance[k].mean for k in ("mawps", "SVAMP", "macro")] == [50.0, 20.0, 35.0]
    assert majority["micro"].mean == pytest.approx((60 * 100 + 40 * 300) / 400)


def test_an_average_is_empty_where_a_set_has_no_figure(counted):
    cells = row_of(build([counted((None, 9.0), (20.0, 8.0))], SPEC), "chance")
    assert [cells[k].mean for k in ("mawps", "SVAMP", "micro", "macro")] == [None, 20.0, None, None]


def test_a_set_outside_the_averages_does_not_count_in_these_either(counted):
    spec = TableSpec(name="toy", title="Toy", outside_averages=("mawps",))
    cells = row_of(build([counted((None, 9.0), (20.0, 8.0))], spec), "chance")
    assert cells["micro"].mean == cells["macro"].mean == 20.0


def test_records_from_before_have_a_table_and_no_such_row(record):
    assert build([record()], SPEC).guesses == ()


def test_one_record_that_says_it_is_enough(counted, record):
    table = build([counted((None, 9.0), (None, 8.0)), record("none")], SPEC)
    assert [guess.label for guess in table.guesses] == ["majority class"]


def test_runs_on_other_rows_have_no_majority_class(counted):
    runs = [counted((None, 9.0), (None, 8.0)), counted((None, 9.0), (None, 7.0), seed=1)]
    cells = row_of(build(runs, SPEC), "majority class")
    assert (cells["mawps"].mean, cells["SVAMP"].mean) == (9.0, None)


def test_a_table_of_format_rates_has_no_such_rows(counted):
    spec = TableSpec(name="toy", title="Toy", metric="format_rate")
    assert build([counted((50.0, 60.0), (20.0, 40.0))], spec).guesses == ()


def test_they_stand_in_every_form_of_the_table(counted):
    table = build([counted((50.0, 60.0), (None, 40.0))], SPEC)
    text = to_markdown(table)
    assert "| chance | 50.0 | - | - | - |" in text
    assert "| majority class | 60.0 | 40.0 | 45.0 | 50.0 |" in text
    assert "Majority class: always the set's most frequent gold answer (MAWPS 7, SVAMP 7)." in text
    lines = [line for line in csv.DictReader(io.StringIO(to_csv(table))) if not line["method"]]
    assert {(x["row"], x["set"], x["mean"]) for x in lines} >= {
        ("chance", "mawps", "50.0"),
        ("chance", "SVAMP", ""),
        ("majority class", "micro", "45.0"),
    }
    assert [guess["label"] for guess in json.loads(to_json(table))["guesses"]] == [
        "chance",
        "majority class",
    ]
