"""The table of what each training set shares with each test set."""

from bench.report.overlap_matrix import overlap_document
from bench.report.render import markdown


def counts(rows, exact, masked, near):
    return {"rows": rows, "exact": exact, "masked": masked, "near": near}


def overlap(rows, exact, masked, near):
    return {
        "rows": rows,
        "tests": {"mawps": counts(9, exact, masked, near), "SVAMP": counts(8, 0, 0, 0)},
        "train": {"exact": exact, "masked": masked, "near": near},
    }


ONE, OTHER, BOTH = overlap(30, 1, 2, 3), overlap(20, 0, 0, 4), overlap(50, 1, 2, 6)


def test_each_training_set_has_three_lines_and_all_together_too():
    text = markdown(overlap_document({"one": ONE, "other": OTHER}, BOTH, kept=False))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0] == "| Training set | Standing there | mawps (9) | SVAMP (8) | Training rows |"
    assert table[2:] == [
        "| one | to the letter | 1 | 0 | 1 |",
        "|  | masked | 2 | 0 | 2 |",
        "|  | near | 3 | 0 | 3 |",
        "| other | to the letter | 0 | 0 | 0 |",
        "|  | masked | 0 | 0 | 0 |",
        "|  | near | 4 | 0 | 4 |",
        "| all together | to the letter | 1 | 0 | 1 |",
        "|  | masked | 2 | 0 | 2 |",
        "|  | near | 6 | 0 | 6 |",
    ]
    assert "Training rows: one 30, other 20, all together 50" in text


def test_a_single_training_set_is_not_shown_twice():
    assert "all together" not in markdown(overlap_document({"one": ONE}, ONE, kept=False))


def test_the_method_is_said_and_what_becomes_of_the_rows():
    left_out = markdown(overlap_document({"one": ONE}, ONE, kept=False))
    assert "at least half of a test row's runs of 13 words" in left_out
    assert "left out of training" in left_out and "near-duplicates are counted and stay" in left_out
    assert "All of them are trained on" in markdown(overlap_document({"one": ONE}, ONE, kept=True))
