"""The files and the terminal: that they parse, agree with each other and fit."""

import csv
import io
import json

import pytest
from rich.console import Console

from bench.report import (
    TableSpec,
    build,
    load_published,
    print_table,
    to_csv,
    to_json,
    to_markdown,
    write,
)
from bench.report.layout import Document, Section
from bench.report.render import cells_csv

SPEC = TableSpec(name="toy", title="Toy", note="the camera-ready's Tables 3 and 8")


@pytest.fixture
def table(record):
    runs = [record(seed=seed, correct=(right, 240)) for seed, right in enumerate((88, 90, 95))]
    partial = record("dora")
    del partial["scores"]["SVAMP"]
    return build([record("none"), *runs, partial], SPEC, load_published("table2"))


def test_a_documents_cells_are_those_of_its_markdown_each_with_all_names_of_its_row():
    rows = (("a", "x", "1.0", "-"), ("", "y", "+2.0", "=3"), ("b", "", "4", "5"))
    section = Section("Heading", ("Group", "Word", "One", "Two"), rows, names=2)
    found = list(csv.reader(io.StringIO(cells_csv(Document("Title", {}, (section,))))))
    assert found == [
        ["section", "row", "column", "cell"],
        ["Heading", "a, x", "One", "1.0"],
        ["Heading", "a, x", "Two", "'-"],
        ["Heading", "a, y", "One", "'+2.0"],
        ["Heading", "a, y", "Two", "'=3"],
        ["Heading", "b", "One", "4"],
        ["Heading", "b", "Two", "5"],
    ]


def printed(table, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_table(table, console)
    return console.file.getvalue()


def markdown_rows(table):
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_markdown_has_one_decimal_deviations_and_dashes(table):
    header, _, none, lora, dora, *_ = markdown_rows(table)
    assert header == ["Method", "MAWPS", "SVAMP", "Micro", "Macro"]
    assert none == ["base model", "90.0", "80.0", "82.5", "85.0"]
    assert lora == ["LoRA", "91.0 ± 3.6", "80.0 ± 0.0", "82.8 ± 0.9", "85.5 ± 1.8"]
    assert dora == ["DoRA", "90.0", "-", "-", "-"]


def test_markdown_names_what_was_compared(table):
    text = to_markdown(table)
    for fact in (
        "# Toy",
        "the camera-ready's Tables 3 and 8",
        "Base: tiny",
        "Data: synthetic",
        "Protocol: fast",
        "Items: MAWPS 100, SVAMP 300",
        "base model: one run, no seed",
        "has no rows for this base; it has LLaMA-7B",
        "shared machine",
    ):
        assert fact in text


def test_csv_is_one_line_for_each_row_and_set(table):
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert len(lines) == len(table.rows) * 4
    lora = next(x for x in lines if (x["method"], x["set"]) == ("lora", "mawps"))
    assert (float(lora["mean"]), float(lora["sd"])) == (91.0, pytest.approx(13**0.5))
    assert (lora["seeds"], lora["n"], lora["curvature"], lora["published"]) == ("3", "100", "", "")
    empty = next(x for x in lines if (x["method"], x["set"]) == ("dora", "micro"))
    assert (empty["mean"], empty["sd"], empty["seeds"]) == ("", "", "0")


def test_json_holds_every_seed_and_agrees_with_csv(table):
    content = json.loads(to_json(table))
    rows = {row["method"]: row for row in content["rows"]}
    assert [v["value"] for v in rows["lora"]["cells"]["mawps"]["values"]] == [88.0, 90.0, 95.0]
    for line in csv.DictReader(io.StringIO(to_csv(table))):
        mean = rows[line["method"]]["cells"][line["set"]]["mean"]
        assert line["mean"] == ("" if mean is None else str(mean))


def test_csv_prefers_the_authors_own_run_to_the_one_they_cite(record):
    run = record(published_base="LLaMA-7B")
    table = build([run], SPEC, load_published("table2"))
    line = next(x for x in csv.DictReader(io.StringIO(to_csv(table))) if x["set"] == "SVAMP")
    assert float(line["published"]) == 48.2
    assert float(line["difference"]) == pytest.approx(80.0 - 48.2)


def test_markdown_shows_paper_ours_and_difference(record):
    table = build([record("hyplora", published_base="Gemma3-4B")], SPEC, load_published("table2"))
    rows = markdown_rows(table)
    start = next(i for i, row in enumerate(rows) if row[1:2] == ["paper"])
    paper, ours, difference = rows[start : start + 3]
    assert paper[2:4] == ["88.2", "83.9"]
    assert ours[1:4] == ["ours", "90.0", "80.0"]
    assert difference[1:5] == ["difference", "+1.8", "-3.9", "-"]


def test_mixed_commits_and_dirty_trees_are_named(record):
    runs = [record(), record("dora", git={"commit": "b" * 40, "dirty": True})]
    text = to_markdown(build(runs, SPEC))
    assert "Made from commits aaaaaaaaaa (1 of 2 runs), bbbbbbbbbb (1 of 2 runs)" in text
    assert "1 of 2 runs had uncommitted changes" in text
    clean = to_markdown(build([record()], SPEC))
    assert "Made from commit aaaaaaaaaa." in clean and "uncommitted" not in clean


def test_write_replaces_whole_files_and_leaves_nothing_else(table, tmp_path):
    (tmp_path / "toy.md").write_text("old")
    paths = write(table, tmp_path)
    assert [path.name for path in paths] == ["toy.md", "toy.csv", "toy.json", "toy.tex"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert paths[0].read_text(encoding="utf-8") == to_markdown(table)


def test_a_failed_write_keeps_the_previous_file(table, tmp_path, monkeypatch):
    (tmp_path / "toy.md").write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(table, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.md"]
    assert (tmp_path / "toy.md").read_text() == "old"


@pytest.mark.parametrize("width", [50, 80, 120])
def test_the_terminal_shows_every_figure_within_its_width(table, width):
    text = printed(table, width)
    assert max(map(len, text.splitlines())) <= width
    assert "91.0 ± 3.6" in text or "91.0±3.6" in text
    assert "Macro" in text and "…" not in text


def test_lone_means_stand_under_the_others(table):
    lines = printed(table, 80).splitlines()
    none, lora = (next(x for x in lines if x.startswith(f"  {m}")) for m in ("base model", "LoRA"))
    assert none.index("90.0") == lora.index("91.0")
