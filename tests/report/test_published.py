"""The paper's figures beside ours, and the file they come from."""

import pytest
import yaml

from bench.report import TableSpec, build, load_published
from bench.report.published import FOLDER

SPEC = TableSpec(name="table2", title="Arithmetic", published="table2")
FOUR = {
    "mawps": ("MAWPS", 238),
    "SVAMP": ("SVAMP", 1000),
    "GSM8K": ("GSM8K", 1319),  # matched with `gsm8k` ignoring case
    "AQuA": ("AQuA", 254),
}


@pytest.fixture(scope="module")
def paper():
    return load_published("table2")


def beside(records, paper):
    return build(records, SPEC, paper).comparison


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
    told = {(n.bases[0], *n.methods) for n in table.footnotes if n.columns == ("macro",)}
    assert unlike <= told


def test_every_missing_figure_has_a_reason(paper):
    oot = next(row for row in paper.rows if row.missing)
    assert (oot.base, oot.method, oot.values["gsm8k"]) == ("LLaMA-13B", "dora", None)
    assert "OOT" in oot.missing["gsm8k"]


def test_difference_is_ours_less_the_paper_s_in_points(record, paper):
    run = record(
        "hyplora", correct=(214, 805, 923, 100), sets=FOUR, published_base="LLaMA3-8B"
    )  # fmt: skip
    (row,) = beside([run], paper).rows
    assert row.cells["SVAMP"].difference == pytest.approx(80.5 - 80.5)
    assert row.cells["gsm8k"].difference == pytest.approx(100 * 923 / 1319 - 74.0)
    assert row.cells["micro"].difference == pytest.approx(100 * 2042 / 2811 - 74.2)
    assert row.cells["params_percent"].difference == pytest.approx(1.0 - 0.70)


def test_both_rows_of_a_method_that_the_paper_cites_and_reruns(record, paper):
    run = record(correct=(190, 500, 500, 50), sets=FOUR, published_base="LLaMA-7B")
    rows = beside([run], paper).rows
    assert [row.origin for row in rows] == ["cited from LLM-Adapters", "reproduced"]
    assert [row.cells["SVAMP"].paper for row in rows] == [52.1, 48.2]


def test_averages_are_not_compared_unless_all_four_sets_are_there(record, paper):
    two = {"mawps": FOUR["mawps"], "SVAMP": FOUR["SVAMP"]}
    comparison = beside([record(correct=(200, 800), sets=two, published_base="gemma-7b")], paper)
    cells = comparison.rows[0].cells
    assert cells["SVAMP"].difference == pytest.approx(80.0 - 76.2)
    assert (cells["micro"].paper, cells["micro"].difference) == (68.6, None)
    assert any("M.AVG: no difference, the paper's is over 4 sets" in x for x in comparison.lines)


def test_other_numbers_of_items_are_said_and_the_weighted_average_is_not_compared(record, paper):
    part = FOUR | {"GSM8K": ("GSM8K", 100)}
    run = record(correct=(200, 800, 70, 80), sets=part, published_base="Gemma-7B")
    comparison = beside([run], paper)
    assert comparison.rows[0].cells["gsm8k"].difference == pytest.approx(70.0 - 66.3)
    assert comparison.rows[0].cells["micro"].difference is None
    assert any("GSM8K 100 (paper 1319)" in line for line in comparison.lines)


def test_footnotes_are_those_of_the_base_and_marked_at_their_cell(record, paper):
    run = record("hyplora", correct=(1, 1, 1, 1), sets=FOUR, published_base="Gemma3-4B")
    comparison = beside([run], paper)
    (number,) = comparison.rows[0].cells["AQuA"].marks
    assert "53.5" in comparison.footnotes[number - 1]
    assert any("gemma-3-4b-it" in note for note in comparison.footnotes)
    assert not any("Qwen" in note or "Meta-Llama" in note for note in comparison.footnotes)
    assert comparison.rows[0].cells["mawps"].marks == ()


def test_a_base_that_the_paper_lacks_is_answered_with_those_it_has(record, paper):
    comparison = beside([record()], paper)
    assert (comparison.base, comparison.rows) == (None, ())
    assert comparison.bases == (
        "LLaMA-7B", "LLaMA-13B", "Gemma-7B", "LLaMA3-8B", "Gemma3-4B", "Qwen2.5-7B",
    )  # fmt: skip


def test_a_figure_that_the_paper_lacks_is_empty_and_explained(record, paper):
    run = record("dora", correct=(1, 1, 1, 1), sets=FOUR, published_base="LLaMA-13B")
    comparison = beside([run], paper)
    cell = comparison.rows[0].cells["gsm8k"]
    assert (cell.paper, cell.difference) == (None, None)
    assert any("DoRA has no GSM8K: printed as OOT" in line for line in comparison.lines)


def test_methods_that_only_one_side_has_are_named(record, paper):
    runs = [
        record(method, correct=(1, 1, 1, 1), sets=FOUR, published_base="Qwen2.5-7B")
        for method in ("lora", "series")
    ]
    comparison = beside(runs, paper)
    assert [row.method for row in comparison.rows] == ["lora"]
    assert "In the paper only: DoRA, HypLoRA." in comparison.lines
    assert "Ours only: Series." in comparison.lines


def test_an_unknown_file_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="did you mean 'table2'"):
        load_published("tabel2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["rows"][1].update(mawps=None), "null without a reason"),
        (lambda c: c["rows"][1].update(mawps=517), "from 0 to 100"),
        (lambda c: c["rows"][1].update(MAWPS=51.7), r"unknown \['MAWPS'\]"),
        (lambda c: c["rows"][1].pop("mawps"), "cannot be read"),
        (lambda c: c["footnotes"][0].update(bases=["Lama"]), "without a row: Lama"),
        (lambda c: c.update(averages={"median": "M"}), "allowed: micro, macro"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, change, message):
    content = yaml.safe_load((FOLDER / "table2.yaml").read_text(encoding="utf-8"))
    change(content)
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_published("bad", tmp_path)
