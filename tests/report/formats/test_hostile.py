"""Markup, formulas and control codes in names and answers are printed as text in each format."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from bench.errors import printable
from bench.report.formats import show, to_csv, to_latex, to_markdown
from bench.report.formats.escape import FORMULA, in_csv, in_markdown, markdown_line
from bench.report.tables import Cell, Column, Report, Row, Table

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![pixel](http://127.0.0.1/x.png)",
    "[x]: http://127.0.0.1",
    "a | b || c",
    "# heading",
    "1. item",
    "- item",
    "> quotation",
    "--- rule",
    "```\nfence",
    "`code` *emphasis* __bold__ ~~gone~~ $maths$",
    "&lt;script&gt; &#x3c;",
    "back\\slash \\| and \\[x](y)",
    '=HYPERLINK("http://127.0.0.1")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "＝1+1",
    "\x1b[2J\x1b]0;title\x07 cleared",
    "\u202egnp.exe",
    "\x9b31m",
    "\\input{/etc/hosts} $x$ % & # _ ^ ~ { }",
]
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PLAIN = {"inline", "paragraph_open", "paragraph_close", "bullet_list_open", "bullet_list_close"}
PLAIN |= {"list_item_open", "list_item_close", "text", "text_special", "softbreak"}
many = settings(derandomize=True, deadline=None, max_examples=200)
anything = st.text(st.sampled_from(list("\\`*_[]()|<>&#!~$-+=:.1a ;{}\"'\n\t\x1b")), max_size=30)


def kinds(tokens):
    return {t.type for t in tokens} | {c.type for t in tokens for c in t.children or ()}


def shown(tokens):
    return "".join(c.content for t in tokens for c in t.children or ())


@pytest.fixture(params=HOSTILE)
def report(request):
    text = request.param
    row = Row((text,), {text: Cell(text), "claim": Cell(1.0, verdict=text)}, keys={"method": text})
    columns = (Column(text, text, "text"), Column("claim", "claim", show="claim"))
    table = Table(text, text, columns, (row,), (text,), notes=(text,), footnotes=(text,))
    return Report("toy", text, {text: text}, (table,))


@many
@given(anything)
def test_whatever_the_text_an_item_of_markdown_is_that_text(text):
    tokens = PARSER.parse(f"- {markdown_line(text)}")
    assert kinds(tokens) <= PLAIN
    assert shown(tokens).split() == printable(text.replace("\n", " ")).split()


@many
@given(anything, anything)
def test_whatever_the_text_a_grid_keeps_its_cells(first, second):
    row = f"| {in_markdown(first)} | {in_markdown(second)} |"
    tokens = PARSER.parse(f"| a | b |\n| --- | --- |\n{row}")
    cells = [t for t in tokens if t.type == "inline"][2:]
    assert [shown([c]).split() for c in cells] == [
        printable(text.replace("\n", " ")).split() for text in (first, second)
    ]


def test_markdown_has_no_markup_of_a_name(report):
    assert not kinds(PARSER.parse(to_markdown(report))) & {
        "html_inline", "html_block", "link_open", "image", "em_open", "strong_open", "code_inline",
        "s_open", "fence", "blockquote_open", "ordered_list_open", "hr",
    }  # fmt: skip


def test_no_field_of_a_csv_begins_as_a_formula(report):
    for line in csv.reader(io.StringIO(to_csv(report))):
        for field in line:
            assert not field.startswith(FORMULA)


def test_numbers_of_a_csv_stay_numbers():
    assert [in_csv(value) for value in (-3.9, 0, None, "-3.9", "a=b")] == [
        -3.9, 0, None, "'-3.9", "a=b"
    ]  # fmt: skip


def test_no_control_code_is_written(report):
    console = Console(width=200, file=io.StringIO(), color_system=None)
    show(report, console)
    for text in (console.file.getvalue(), to_markdown(report), to_latex(report), to_csv(report)):
        assert printable(text) == text
