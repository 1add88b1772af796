"""The page as text: what is on it, and how large it is."""

import dataclasses
import json
import re

from bench.report.collected import Collected, LeftOut, Missing
from bench.report.page import page, parts, write_page
from bench.report.pretraining import pretraining_document, twin_differences
from bench.report.render import to_markdown
from bench.tracking.holdings import Measurement


def visible(text):
    """The page without its scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)


def test_it_says_what_was_found_what_is_missing_and_where_it_comes_from(collected, tmp_path):
    given = collected(
        absent={"commonsense": "no runs"},
        left_out=(LeftOut("7 runs of r=4", 7, "no sweep file asks for them"),),
        unfinished=("hyplora seed 2: FAILED, out of memory",),
    )
    text = visible(write_page(given, tmp_path / "report").read_text())
    for part in (
        'HypLoRA is <b class="worse">worse</b> than LoRA: -2.0 points',
        "6 of 9 runs: tiny, synthetic data, protocol fast",
        "DoRA (seeds 0, 2); failed: disk full: make reproduce-toy",
        "no runs: make reproduce-commonsense",
        "7 runs of r=4: no sweep file asks for them",
        "hyplora seed 2: FAILED, out of memory",
        "6 finished, 1 failed",
        "aaaaaaaaaa",  # the commit
    ):
        assert part in text


def test_its_tables_have_the_digits_of_the_markdown(collected):
    given = collected()
    text = visible(page(given))
    (row,) = [
        line for line in to_markdown(given.tables[0].table).splitlines() if "| HypLoRA |" in line
    ][:1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    found = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", text)
    place = found.index("HypLoRA")
    assert found[place : place + len(cells)] == cells


def test_pretraining_runs_are_a_part_with_the_digits_of_their_markdown(pretrained):
    text = visible(page(Collected(pretrainings=(pretrained,))))
    assert "What 12 pretraining runs say about hyperbolic language models." in text
    found = twin_differences(pretrained.records, pretrained.spec)[0]
    assert (
        f'HELM-D and LLaMA are <b class="open">{found.verdict}</b>: {found.difference:+.3f} bits'
        in text
    )
    document = pretraining_document(pretrained.records, pretrained.spec)
    section = next(part for part in document.sections if "held-out" in part.heading)
    found = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", text)
    for row in section.rows:
        place = found.index(row[0])
        assert found[place : place + len(row)] == list(row)


def test_an_empty_store_makes_a_page_that_says_so(tmp_path):
    text = visible(page(Collected()))
    assert "There is no finished run to report on yet." in text


def test_what_models_wrote_and_people_named_is_never_markup(collected, hostile):
    given = collected(hostile, left_out=(LeftOut(hostile, 1, hostile),), absent={hostile: hostile})
    text = page(given)
    assert "<script>window" not in text and "<img src=x" not in text
    assert "\x1b" not in text and "\u202e" not in text
    assert "\\u001b" not in text  # nor behind an escape of JSON's


def test_data_for_the_scripts_comes_back_as_it_was(collected, hostile):
    blocks = re.findall(
        r'<script type="application/json" id="[^"]*-data">(.*?)</script>', page(collected(hostile))
    )
    (data,) = map(json.loads, blocks)
    assert data["cases"][0]["answers"][0]["text"].startswith("</script><script>window.hit")
    assert data["totals"] == {"mawps": 8}


def test_case_studies_and_figures_are_left_out_where_there_is_no_room(collected, monkeypatch):
    names = [f"t{i}" for i in range(4)]
    given = collected("x" * 500, names, [f"base-{i}" for i in range(4)])
    monkeypatch.setattr(parts, "FIGURES", 20_000)
    monkeypatch.setattr(parts, "CASES", 20_000)
    found, others = parts.parts_of(given)
    assert [bool(part.charts) for part in found] == [True, False, False, False]
    assert found[0].cases and not found[3].cases
    assert found[3].omitted == ("figures with values on hover", "case studies")
    assert others == []


def test_tables_without_room_are_named(collected, monkeypatch):
    names = [f"t{i}" for i in range(4)]
    given = collected("x", names, [f"base-{i}" for i in range(4)])
    monkeypatch.setattr(parts, "TABLES", 9_000)
    found, others = parts.parts_of(given)
    assert found and others
    assert [part.title for part in found] + others == [f"Table {name}" for name in names]
    assert all(name in visible(page(given)) for name in others)


def test_long_lists_are_bounded_and_say_how_many_there_were():
    found = list(parts.bounded(f"line {i}" for i in range(1234)))
    assert len(found) == parts.LINES + 1 and found[-1] == "and 1,194 more"


def test_tables_of_one_title_are_told_apart_by_their_names(collected):
    names = ["toy-a", "toy-b"]
    given = collected("x", names, ["base-a", "base-b"])
    alike = [
        dataclasses.replace(found, table=dataclasses.replace(found.table, title="Toy"))
        for found in given.tables
    ]
    text = visible(page(dataclasses.replace(given, tables=tuple(alike))))
    for name in names:
        assert f'<a href="#table-{name}">Toy ({name})</a>' in text
        assert f"<h2>Toy ({name})</h2>" in text


def test_of_many_missing_rows_all_are_told_with_one_command(collected):
    given = collected()
    rows = tuple(Missing(f"row {i}", (0,), f"make row{i}") for i in range(30))
    table = dataclasses.replace(given.tables[0], missing=rows, command="make all-of-them")
    text = visible(page(dataclasses.replace(given, tables=(table,))))
    assert "row 11 (seed 0)" in text and "row 12" not in text and "and 18 more" in text
    assert "All of them: make all-of-them" in text and "make row0" not in text


def test_a_measurement_is_a_part_of_the_page_with_its_figure(efficiency_report):
    measured = {"efficiency": Measurement("efficiency", "id", 0, efficiency_report)}
    text = page(Collected(measurements=measured))
    assert '<section id="table-efficiency">' in text and 'id="table-efficiency-figure-1"' in text
    assert "here is what was measured" in visible(text)
