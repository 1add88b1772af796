"""The page as text: its contents and its size."""

import json
import re

from bench.report.collect import Collected
from bench.report.figure import page_spec
from bench.report.formats import to_markdown
from bench.report.measurements import measurement_name
from bench.report.page import parts
from bench.report.page.index import page, write_page
from bench.report.result import result_of
from bench.tracking.contents import Measurement


def visible(text):
    """The page without its scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)


def test_it_has_findings_missing_runs_and_provenance(collected, tmp_path):
    given = collected(
        absent={"commonsense": "no runs"},
        left_out=("7 runs of r=4: of another version",),
        unfinished=("hyplora seed 2: FAILED, out of memory",),
    )
    text = visible(write_page(*given, tmp_path / "report").read_text())
    for part in (
        'HypLoRA is <b class="worse">worse</b> than LoRA: -',
        "6 of 9 runs: tiny, synthetic data, protocol fast",
        "DoRA (seeds 0, 2); failed: disk full",
        "To run them: python bench/run.py +sweep=toy",
        "no runs: make reproduce-commonsense",
        "7 runs of r=4: of another version",
        "hyplora seed 2: FAILED, out of memory",
        "6 finished, 1 failed",
        "aaaaaaaaaa",  # the commit
    ):
        assert part in text


def test_its_tables_have_the_digits_of_the_markdown(collected):
    results, given = collected()
    text = visible(page(results, given))
    lines = to_markdown(results[0].report).splitlines()
    row = next(line for line in lines if "| HypLoRA |" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    found = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", text)
    place = found.index("HypLoRA")
    assert found[place : place + len(cells)] == cells


def test_pretraining_runs_are_a_part_of_it(pretrained):
    result = result_of(pretrained)
    text = visible(page([result], Collected(tables=(pretrained,))))
    assert "18 pretraining runs of hyperbolic language models" in text
    found = result.comparisons[0]
    assert f'<b class="open">{found.verdict}</b>: {found.difference:+.3f} bits per byte' in text
    assert '<section id="table-helm">' in text


def test_an_empty_store_makes_a_page_that_says_so():
    assert "There is no finished run yet." in visible(page([], Collected()))


def test_texts_of_models_and_people_are_never_markup(collected, hostile):
    given = collected(hostile, left_out=(hostile,), absent={hostile: hostile})
    text = page(*given)
    assert "<script>window" not in text and "<img src=x" not in text
    assert "\x1b" not in text and "\u202e" not in text
    assert "\\u001b" not in text  # nor behind an escape of JSON's


def test_data_for_the_scripts_is_unchanged(collected, hostile):
    text = page(*collected(hostile))
    blocks = re.findall(r'<script type="application/json" id="[^"]*-data">(.*?)</script>', text)
    (data,) = map(json.loads, blocks)
    assert data["cases"][0]["answers"][0]["text"].startswith("</script><script>window.hit")
    assert data["totals"] == {"mawps": 8}


def test_case_studies_and_figures_are_omitted_if_they_do_not_fit(collected, monkeypatch):
    names = [f"t{i}" for i in range(4)]
    results, given = collected("x" * 500, names, [f"base-{i}" for i in range(4)])
    size = sum(parts._data_size(page_spec(figure)) for figure in results[0].figures())
    monkeypatch.setattr(parts, "FIGURES", size + 10)
    monkeypatch.setattr(parts, "CASES", 20_000)
    found, others = parts.parts_of(results, given)
    assert [bool(part.charts) for part in found] == [True, False, False, False]
    assert found[0].cases and not found[3].cases
    assert found[3].omitted == ("interactive figures", "case studies")
    assert others == []


def test_tables_that_do_not_fit_are_named(collected, monkeypatch):
    names = [f"t{i}" for i in range(4)]
    results, given = collected("x", names, [f"base-{i}" for i in range(4)])
    monkeypatch.setattr(parts, "TABLES", 2.5 * parts._size(results[0].report))
    found, others = parts.parts_of(results, given)
    assert len(found) == len(others) == 2
    assert [part.title for part in found] + others == [f"Table {name}" for name in names]
    assert all(name in visible(page(results, given)) for name in others)


def test_long_lists_are_bounded_and_say_how_many_there_were():
    lines = tuple(f"line {i}" for i in range(1234))
    text = visible(page([], Collected(unfinished=lines)))
    assert "line 39<" in text and "line 40<" not in text and "and 1,194 more" in text


def test_tables_of_one_title_have_their_names_added(collected):
    names = ["toy-a", "toy-b"]
    text = visible(page(*collected("x", names, ["base-a", "base-b"], ["Toy", "Toy"])))
    for name in names:
        assert f'<a href="#table-{name}">Toy ({name})</a>' in text
        assert f"<h2>Toy ({name})</h2>" in text


def test_a_measurement_is_a_part_with_its_figure(measurement):
    content = measurement("efficiency") | {"device": "another"}
    measured = {"efficiency": Measurement("efficiency", "id", content)}
    text = page([], Collected(measurements=measured))
    name = measurement_name("efficiency", content)
    assert f'<section id="table-{name}">' in text and f'id="table-{name}-figure-1"' in text
    assert "these are the measurements" in visible(text)
