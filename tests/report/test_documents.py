"""Numbers in README and docs are those of the committed tables."""

import pytest

from bench.report.documents import documents, filled

CSV = """table,row,column,value,sd,low,high,p,n,runs,text
scores,"HypLoRA, K=1",micro,72.26,1.4,,,,600,5,
vs,HypLoRA,micro,-2.4,,-5.1,0.3,0.05,,,n.s.
"""


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "mine.csv").write_text(CSV)
    (tmp_path / "mine.md").write_text(
        "# Mine\n\n| a |\n| --- |\n| 1 |\n\nnote\n\n## Second: one\n\n| b |\n\n"
        "## Wide\n\n| a | b, c | d |\n| --- | --: | --: |\n| x \\| y | 2 | 3 ± 1 |\n"
    )
    return tmp_path


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_a_document_has_the_numbers_of_the_tables(path):
    text = path.read_text(encoding="utf-8")
    assert filled(text) == text, "python bench/run.py action=docs writes them"


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("mine / scores / HypLoRA, K=1 / micro: {value:.1f} ± {sd:.1f}", "72.3 ± 1.4"),
        ("mine / vs / HypLoRA / micro: {text}, {value:+.1f} [{low:+.1f}, {high:+.1f}]",
         "n.s., -2.4 [-5.1, +0.3]"),
        ("mine", "\n| a |\n| --- |\n| 1 |\n"),
        ("mine / Second: one", "\n| b |\n"),
        ("mine / Wide | d | b, c",
         "\n| a | d | b, c |\n| --- | --: | --: |\n| x \\| y | 3 ± 1 | 2 |\n"),
    ],
)  # fmt: skip
def test_what_is_between_markers_is_replaced(tables, marker, expected):
    made = filled(f"before <!-- {marker} -->old<!-- end --> after", tables)
    assert made == f"before <!-- {marker} -->{expected}<!-- end --> after"


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("mine / scores / LoRA / micro: {value}", "0 cells of mine.csv"),
        ("other / scores / LoRA / micro: {value}", "other.csv"),
        ("mine / vs / HypLoRA / micro: {points}", "points"),
        ("mine / Third", "0 headings of mine.md"),
        ("mine / Wide | b", "'b' is not in list"),
    ],
)
def test_a_marker_of_nothing_is_named(tables, marker, message):
    with pytest.raises(ValueError, match=message):
        filled(f"<!-- {marker} --><!-- end -->", tables)
