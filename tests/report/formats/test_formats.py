"""The formats of a report: that they parse, agree with each other and fit."""

import io

import pytest
from rich.console import Console

from bench.report.formats import show, to_markdown
from bench.report.formats.html import html_table
from bench.report.tables import Cell, Column, Report, Row, RunValue, Table
from tests.report.formats.grids import rows

RUNS = (RunValue(0, 88.0, 100, 88), RunValue(1, 94.0, 100, 94))
SCORES = Table(
    key="scores",
    columns=(Column("mawps", "MAWPS", show="sd"), Column("macro", "Macro", show="sd", marks=(1,))),
    rows=(
        Row(("base model",), {"mawps": Cell(2.0, n=100), "macro": Cell(2.0)}, keys={"K": None}),
        Row(
            ("LoRA",), {"mawps": Cell(91.0, 3.6, 80.0, 96.1, 100, runs=RUNS)}, (2,), keys={"K": 1.0}
        ),
    ),
    notes=("a note",),
    footnotes=("of the average", "of the row"),
)
INTERVALS = Table(
    "intervals",
    "95% intervals",
    (Column("mawps", "MAWPS", show="interval"),),
    SCORES.rows,
    view=True,
)
WORSE = Cell(-3.94, low=-8.0, high=-0.04, p=0.0123, verdict="worse")
COMPARED = Table(
    key="vs. LoRA",
    heading="vs. LoRA",
    columns=(
        Column("micro", "Verdict", "text", show="verdict"),
        Column("micro", "Difference [95% interval]", "z.1f", show="range"),
        Column("micro", "p (Holm)", "p", show="p"),
        Column("SVAMP", "SVAMP", "z.1f", show="claim"),
    ),
    rows=(
        Row(("DoRA",), {"micro": WORSE, "SVAMP": Cell(0.04, verdict="n.s.")}, signed=True),
        Row(("Series",), {"micro": Cell(verdict="not compared", why="too short")}, signed=True),
    ),
)
PAPER = Table(
    key="paper",
    heading="vs. the paper",
    columns=(Column("mawps", "MAWPS", "z.1f"), Column("seconds", "Time", "duration", "!")),
    rows=(
        Row(("LoRA", "paper"), {"mawps": Cell(88.2, marks=(1, 3))}, (2,)),
        Row(("LoRA", "ours"), {"mawps": Cell(90.0), "seconds": Cell(90)}),
        Row(("LoRA", "difference"), {"mawps": Cell(1.8)}, signed=True),
        Row(("DoRA", "paper"), {"mawps": Cell(85.0), "seconds": Cell(9000)}),
    ),
    names=("Method", ""),
    grouped=True,
    marks=(1,),
)
REPORT = Report("toy", "Toy", {"Base": "tiny"}, (SCORES, INTERVALS, COMPARED, PAPER))


def terminal(width, report=REPORT):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    show(report, console)
    return console.file.getvalue()


def test_markdown_has_deviations_marks_dashes_and_signs():
    found = rows(to_markdown(REPORT))
    assert found[0] == ["Method", "MAWPS", "Macro¹"]
    assert found[2:4] == [["base model", "2.0", "2.0"], ["LoRA²", "91.0 ± 3.6", "-"]]
    assert ["LoRA²", "80.0 to 96.1"] in found
    assert ["DoRA", "worse", "-3.9 [-8.0, +0.0]", "0.012", "+0.0 n.s."] in found
    assert ["Series", "not compared", "-", "-", "-"] in found


def test_markdown_prints_a_group_s_name_once():
    found = rows(to_markdown(REPORT))
    assert found[-4:] == [
        ["LoRA", "paper²", "88.2¹,³", "-"],
        ["", "ours", "90.0", "~90 s!"],
        ["", "difference", "+1.8", "-"],
        ["DoRA", "paper", "85.0", "~2.5 h!"],
    ]


def test_markdown_has_facts_headings_and_footnotes():
    text = to_markdown(REPORT)
    for part in (
        "# Toy\n",
        "- Base: tiny\n",
        "## vs. the paper¹\n",
        "- a note\n",
        "- ¹ of the average",
    ):
        assert part in text


@pytest.mark.parametrize("width", [50, 80, 120])
def test_the_terminal_shows_every_number_within_its_width(width):
    text = terminal(width)
    assert max(map(len, text.splitlines())) <= width
    assert "91.0 ± 3.6" in text or "91.0±3.6" in text
    assert "Macro¹" in text and "worse" in text and "…" not in text


def test_numbers_are_aligned_at_their_end():
    lines = terminal(80).splitlines()
    none, lora = (next(x for x in lines if x.startswith(f"  {m}")) for m in ("base model", "LoRA"))
    assert none.index("2.0") == lora.index("1.0")


def test_html_has_sorting_keys_and_verdicts():
    rows = [row for block in html_table(COMPARED).blocks for row in block]
    name, verdict, difference, p, claim = rows[0]
    assert (name.text, name.key) == ("DoRA", None)
    assert (verdict.text, verdict.key, verdict.verdict) == ("worse", None, "worse")
    assert (difference.text, difference.key) == ("-3.9 [-8.0, +0.0]", -3.94)
    assert (p.key, p.verdict) == (0.0123, "")
    assert (claim.text, claim.key, claim.verdict) == ("+0.0 n.s.", 0.04, "")
    assert [cell.text for cell in rows[1][1:3]] == ["not compared", "-"]
    assert html_table(INTERVALS).blocks[1][0][1].key == 80.0


def test_html_keeps_the_rows_of_a_group_together():
    table = html_table(PAPER)
    assert [len(block) for block in table.blocks] == [3, 1]
    assert table.blocks[0][1][3].key == 90  # of `~90 s!`
    assert (table.heading, html_table(SCORES).notes[1]) == ("vs. the paper¹", "¹ of the average")
    head = Table("x", columns=(Column("a", "step 256 (LoRA 2.2 s)"),))
    assert html_table(head).header[1] == "step 256 (LoRA\u00a02.2\u00a0s)"
