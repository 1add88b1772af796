"""Our rows against the paper's, and the files of published numbers."""

import pytest
import yaml

from bench.report.paper import paper_table
from bench.report.published import FOLDER, load_published, read_published
from bench.report.score_table import score_table
from tests.report.score_runs import finished, selection

FOUR = {
    "mawps": ("MAWPS", 238),
    "SVAMP": ("SVAMP", 1000),
    "GSM8K": ("GSM8K", 1319),  # matched with `gsm8k` ignoring case
    "AQuA": ("AQuA", 254),
}
AUTHORS = "hyplora_authors"


@pytest.fixture(scope="module")
def paper():
    return load_published("table2")


def compared(paper, *runs):
    return paper_table(score_table(selection(runs)), paper)


def ours(method="lora", correct=(1, 1, 1, 1), base="Gemma3-4B", sets=FOUR):
    return finished(method, correct=correct, sets=sets, published_base=base)


def row(table, name, place=0):
    return [row for row in table.rows if row.names[1] == name][place]


@pytest.mark.parametrize("name", ["table2", "curvature", "commonsense"])
def test_published_numbers_have_a_provenance(name):
    content = read_published(name)
    assert all(content[key] for key in ("title", "paper", "version", "sources"))


def test_printed_averages_are_the_cells_weighted_by_items(paper):
    for row in paper.rows:
        if row.values["micro"] is not None:
            total = sum(row.values[key] * n for key, n in paper.items.items())
            assert row.values["micro"] == pytest.approx(total / 2811, abs=0.1), row


def test_printed_commonsense_averages_are_plain_means_but_for_two_that_footnotes_name():
    table = load_published("commonsense")
    unlike = {
        (row.base, row.method)
        for row in table.rows
        if abs(row.values["macro"] - sum(row.values[key] for key in table.items) / 8) > 0.05
    }
    assert unlike == {("Gemma3-4B", "hyplora"), ("Qwen2.5-7B", "hyplora")}
    named = {(n.bases[0], *n.methods) for n in table.footnotes if n.columns == ("macro",)}
    assert unlike <= named


def test_difference_is_ours_less_the_paper_s(paper):
    table = compared(paper, ours("hyplora", (214, 805, 923, 100), "LLaMA3-8B"))
    cells = row(table, "difference").cells
    assert cells["SVAMP"].value == pytest.approx(80.5 - 80.5)
    assert cells["gsm8k"].value == pytest.approx(100 * 923 / 1319 - 74.0)
    assert cells["micro"].value == pytest.approx(100 * 2042 / 2811 - 74.2)
    assert cells["params_percent"].value == pytest.approx(1.0 - 0.70)
    assert row(table, "ours").cells["SVAMP"].value == pytest.approx(80.5)


def test_both_rows_of_a_method_that_the_paper_cites_and_reruns(paper):
    table = compared(paper, ours(correct=(190, 500, 500, 50), base="LLaMA-7B"))
    papers = [row for row in table.rows if row.names[1].startswith("paper,")]
    assert [row.names[1] for row in papers] == [
        "paper, cited from LLM-Adapters", "paper, reproduced"
    ]  # fmt: skip
    assert [row.cells["SVAMP"].value for row in papers] == [52.1, 48.2]


def test_the_authors_code_is_compared_with_the_published_hyplora(paper):
    both = [ours(method, (214, 805, 923, 100), "LLaMA3-8B") for method in ("hyplora", AUTHORS)]
    table = compared(paper, *both)
    label = "HypLoRA (authors' code)"
    assert [r.names for r in table.rows[:6]] == [
        (name, kind) for name in ("HypLoRA", label) for kind in ("paper", "ours", "difference")
    ]
    assert table.rows[3].cells["SVAMP"].value == row(table, "paper").cells["SVAMP"].value == 80.5
    note = f"{label} is compared with the paper's HypLoRA: it computes what the authors' code does."
    assert note in table.notes
    alone = compared(paper, both[1])
    assert [r.names[0] for r in alone.rows[:3]] == [label] * 3 and note in alone.notes
    assert "In the paper only: base model, LoRA, DoRA." in alone.notes
    assert not any(text.startswith("Ours only") for text in (*table.notes, *alone.notes))


def test_averages_are_not_compared_unless_all_four_sets_are_there(paper):
    two = {"mawps": FOUR["mawps"], "SVAMP": FOUR["SVAMP"]}
    table = compared(paper, ours(correct=(200, 800), sets=two, base="gemma-7b"))
    cells = row(table, "difference").cells
    assert cells["SVAMP"].value == pytest.approx(80.0 - 76.2)
    assert (row(table, "paper").cells["micro"].value, cells["micro"].value) == (68.6, None)
    assert any("M.AVG: no difference, the paper's is over 4 sets" in x for x in table.notes)


def test_other_numbers_of_items_are_noted_and_the_weighted_average_is_not_compared(paper):
    part = FOUR | {"GSM8K": ("GSM8K", 100)}
    table = compared(paper, ours(correct=(200, 800, 70, 80), sets=part, base="Gemma-7B"))
    cells = row(table, "difference").cells
    assert cells["gsm8k"].value == pytest.approx(70.0 - 66.3)
    assert cells["micro"].value is None
    assert any("GSM8K 100 (paper 1319)" in note for note in table.notes)


def test_footnotes_are_those_of_the_base_and_marked_at_their_cell(paper):
    table = compared(paper, ours("hyplora"))
    (number,) = row(table, "paper").cells["AQuA"].marks
    assert "53.5" in table.footnotes[number - 1]
    assert any("gemma-3-4b-it" in note for note in table.footnotes)
    assert not any("Qwen" in note or "Meta-Llama" in note for note in table.footnotes)
    assert row(table, "paper").cells["mawps"].marks == ()


def test_a_base_that_the_paper_lacks_is_answered_with_those_it_has(paper):
    table = compared(paper, finished())
    assert table.rows == ()
    assert "has no rows for this base; it has LLaMA-7B, LLaMA-13B" in table.notes[0]


def test_a_number_that_the_paper_lacks_is_empty_and_explained(paper):
    table = compared(paper, ours("dora", base="LLaMA-13B"))
    cell = row(table, "paper").cells["gsm8k"]
    assert (cell.value, row(table, "difference").cells["gsm8k"].value) == (None, None)
    assert "OOT" in cell.why
    assert any("DoRA has no GSM8K: printed as OOT" in note for note in table.notes)


def test_methods_that_only_one_side_has_are_named(paper):
    table = compared(paper, ours(base="Qwen2.5-7B"), ours("series", base="Qwen2.5-7B"))
    assert {r.keys.get("method") for r in table.rows} <= {"lora", None}
    assert "In the paper only: DoRA, HypLoRA." in table.notes
    assert "Ours only: Series." in table.notes


def test_an_unknown_file_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="Did you mean table2"):
        load_published("tabel2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["rows"][1].update(mawps=None), "null without a reason"),
        (lambda c: c["rows"][1].update(mawps=517), "from 0 to 100"),
        (lambda c: c["rows"][1].update(MAWPS=51.7), r"unknown \['MAWPS'\]"),
        (lambda c: c["rows"][1].pop("mawps"), "no 'mawps'"),
        (lambda c: c["footnotes"][0].update(bases=["Lama"]), "without a row: Lama"),
        (lambda c: c.update(averages={"median": "M"}), "allowed: micro, macro"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, monkeypatch, change, message):
    content = yaml.safe_load((FOLDER / "table2.yaml").read_text(encoding="utf-8"))
    change(content)
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr("bench.report.published.FOLDER", tmp_path)
    with pytest.raises(ValueError, match=message):
        load_published("bad")
