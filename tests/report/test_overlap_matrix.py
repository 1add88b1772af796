"""The table of what each training set shares with each test set."""

from bench.report.formats import to_markdown
from bench.report.overlap_matrix import overlap_report


def counts(rows, exact, masked, near):
    return {"rows": rows, "exact": exact, "masked": masked, "near": near}


def overlap(rows, exact, masked, near):
    return {
        "rows": rows,
        "tests": {"mawps": counts(9, exact, masked, near), "SVAMP": counts(8, 0, 0, 0)},
        "train": {"exact": exact, "masked": masked, "near": near},
    }


ONE, OTHER, BOTH = overlap(30, 1, 2, 3), overlap(20, 0, 0, 4), overlap(50, 1, 2, 6)


def test_each_training_set_has_three_rows_and_all_together_too():
    text = to_markdown(overlap_report({"one": ONE, "other": OTHER}, BOTH, kept=False))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0] == "| Training set | Match | mawps (9) | SVAMP (8) | Training rows |"
    assert table[2:] == [
        "| one | verbatim | 1 | 0 | 1 |",
        "|  | masked | 2 | 0 | 2 |",
        "|  | near | 3 | 0 | 3 |",
        "| other | verbatim | 0 | 0 | 0 |",
        "|  | masked | 0 | 0 | 0 |",
        "|  | near | 4 | 0 | 4 |",
        "| all together | verbatim | 1 | 0 | 1 |",
        "|  | masked | 2 | 0 | 2 |",
        "|  | near | 6 | 0 | 6 |",
    ]
    assert "Training rows: one 30, other 20, all together 50" in text


def test_a_single_training_set_is_not_shown_twice_and_the_notes_say_what_is_trained_on():
    left_out, kept = (
        to_markdown(overlap_report({"one": ONE}, ONE, kept)) for kept in (False, True)
    )
    assert "all together" not in left_out
    assert "near-duplicates are counted and kept" in left_out
    assert "All of them are trained on" in kept
