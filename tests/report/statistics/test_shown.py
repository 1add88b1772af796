"""How intervals and verdicts stand in the files and on the terminal."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from bench.report import TableSpec, build, print_table, to_csv, to_json, to_markdown


@pytest.fixture
def table(answered):
    made = [answered("none", None, mawps=0.02, SVAMP=0.0)]
    for place, (method, chance) in enumerate({"lora": 0.8, "series": 0.3, "dora": 0.79}.items()):
        made += [
            answered(
                method, seed, draws=np.random.default_rng([place, seed]), mawps=chance, SVAMP=chance
            )
            for seed in range(3)
        ]
    return build(made, TableSpec(name="toy", title="Toy"))


def test_markdown_has_the_verdict_beside_the_name(table):
    text = to_markdown(table)
    assert "## Beside LoRA: micro average" in text
    assert "| Method | Verdict | Difference | 95% interval | p (Holm) |" in text
    assert "| Series | worse | -" in text and "| DoRA | not separated | " in text
    assert "**" not in text


def test_markdown_says_what_the_interval_of_a_single_run_is_over(table):
    assert "Over items alone for a single run: base model." in to_markdown(table)


def test_every_row_being_a_single_run_is_said(answered):
    made = [answered("lora", 0), answered("dora", 0)]
    text = to_markdown(build(made, TableSpec(name="toy", title="Toy")))
    assert "Every row is a single run, so they say nothing of other seeds." in text


def test_csv_and_json_have_the_same_intervals_and_verdicts(table):
    rows = {row["label"]: row for row in json.loads(to_json(table))["rows"]}
    found = {
        (x["label"], x["key"]): x for x in json.loads(to_json(table))["beside"][0]["differences"]
    }
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert len(lines) == 4 * 4
    for line in lines:
        cell = rows[line["row"]]["cells"][line["set"]]
        assert (line["low"], line["high"]) == (str(cell["low"]), str(cell["high"]))
        verdict = found.get((line["row"], line["set"]), {}).get("verdict", "")
        assert line["vs_lora_verdict"] == verdict


def test_the_new_columns_stand_at_the_end(table):
    header = to_csv(table).splitlines()[0]
    assert header.startswith(
        "row,method,curvature,set,mean,sd,seeds,n,published,difference,low,high,vs_"
    )


@pytest.mark.parametrize("width", [60, 100])
def test_the_terminal_shows_verdicts_within_its_width(table, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_table(table, console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "worse" in text and "not separated" in text


def test_a_row_has_the_same_intervals_whatever_stands_beside_it(answered):
    spec = TableSpec(name="toy", title="Toy")
    lora = [answered("lora", seed) for seed in range(3)]
    dora = [answered("dora", seed) for seed in range(3)]
    alone, beside = (build(made, spec).rows[0].cells["micro"] for made in (lora, [*lora, *dora]))
    assert (alone.low, alone.high) == (beside.low, beside.high)
