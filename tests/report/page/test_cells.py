import pytest
from bench.report.page.cells import grid_of, sort_key

from bench.report.layout import Section


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("72.3 ± 1.4", 72.3),
        ("147,456", 147456.0),
        ("7.31%", 7.31),
        ("~25 s", 25.0),
        ("~2 min", 120.0),
        ("~1.5 h", 5400.0),
        ("26 ms", 0.026),
        ("+0.3¹,²", 0.3),
        ("-2.4", -2.4),
        ("<0.001", 0.001),
        ("−2.4", -2.4),
        ("1.02 [0.99, 1.04]", 1.02),
        ("below", None),
        ("-", None),
        ("", None),
        ("3b", None),
    ],
)
def test_a_cell_is_sorted_by_the_number_that_it_begins_with(text, key):
    assert sort_key(text) == (key if key is None else pytest.approx(key))


def test_rows_that_belong_together_stay_together():
    rows = (("LoRA", "paper", "80.8"), ("", "ours", "74.7"), ("DoRA", "paper", "82.1"))
    grid = grid_of(Section("Beside", ("Method", "", "M.AVG"), rows, names=2))
    assert [len(block) for block in grid.blocks] == [2, 1]
    assert [cell.name for cell in grid.blocks[0][0]] == [True, True, False]


def test_words_of_a_verdict_are_marked_and_others_are_not():
    texts = ("worse", "+3.1 better", "-1.0 not separated", "betterish", "")
    grid = grid_of(
        Section("", ("Method", "Verdict"), tuple((f"{i}", t) for i, t in enumerate(texts)))
    )
    assert [block[0][1].verdict for block in grid.blocks] == ["worse", "better", "", "", ""]


def test_a_row_alone_has_no_order():
    assert not grid_of(Section("", ("Method", "A"), (("LoRA", "1"),))).sortable
