import string

import pytest

from bench.data.overlap import count_overlap, exact_text, masked_text, near_rows, resolve_overlap
from bench.data.problems import Problem, ProblemSets


def problem(text, task="mawps"):
    return Problem(task, text, "", "1+1=2. The answer is 2.", "2")


TRAIN = [
    problem("Mary has 3 books. How many?"),
    problem("Tom has 12 cups, and more."),
    problem("Nothing of the kind."),
]
TESTS = {
    "SVAMP": [problem("Mary has 3 books.  How many?", "SVAMP"), problem("Another one.", "SVAMP")],
    "mawps": [problem("tom has 7,000 cups; and more")],
}


@pytest.fixture
def sets():
    return ProblemSets(train=TRAIN[:2], validation=TRAIN[2:], tests=TESTS)


def test_what_counts_in_the_two_forms():
    assert exact_text(problem("a  b\n")) == exact_text(problem("a b"))
    assert masked_text(problem("Tom has 1,234.5 cups!")) == masked_text(problem("tom has 7 CUPS"))
    assert masked_text(problem("Tom has cups")) != masked_text(problem("Tom has 7 cups"))


def test_matches_are_counted_in_test_and_training_rows(sets):
    found = resolve_overlap(sets, keep=True)[1]
    assert found.tests == {
        "SVAMP": {"rows": 2, "exact": 1, "masked": 1, "near": 1},
        "mawps": {"rows": 1, "exact": 0, "masked": 1, "near": 1},
    }
    assert found.train == {"exact": 1, "masked": 2, "near": 2}


def test_counts_of_no_training_rows_are_zero():
    tests, train = count_overlap([], TESTS)
    assert tests["SVAMP"] == {"rows": 2, "exact": 0, "masked": 0, "near": 0}
    assert train == {"exact": 0, "masked": 0, "near": 0}


def test_near_duplicates_are_counted_and_never_dropped():
    text = "Ann has 3 pens and 4 more in a box that stands under the old table in her room."
    train = [problem(text.replace("Ann", "Sue")), problem("Nothing of the kind.")]
    sets = ProblemSets(train=train, validation=[], tests={"mawps": [problem(text)]})
    kept, found = resolve_overlap(sets, keep=False)
    assert found.tests["mawps"] == {"rows": 1, "exact": 0, "masked": 0, "near": 1}
    assert found.train == {"exact": 0, "masked": 0, "near": 1} and kept == sets


def test_matching_training_and_validation_rows_are_dropped_unless_kept(sets):
    kept = resolve_overlap(sets, keep=False)[0]
    assert (kept.train, kept.validation, kept.tests) == ([], TRAIN[2:], TESTS)
    assert resolve_overlap(sets, keep=True)[0] == sets
    other = ProblemSets(train=TRAIN[2:], validation=TRAIN[:1], tests=TESTS)
    kept, found = resolve_overlap(other, keep=False)
    assert kept.validation == [] and kept.train == TRAIN[2:] and found.train["masked"] == 1


WORDS = string.ascii_lowercase
TEXT = " ".join(WORDS)  # 26 words, 14 runs of 13


def changed(*places):
    return " ".join("?" if i in places else word for i, word in enumerate(WORDS))


@pytest.mark.parametrize(
    ("training", "test", "near"),
    [
        (TEXT, TEXT, True),
        (f"before {TEXT} and after", TEXT, True),
        (changed(0), TEXT, True),  # 13 of 14 runs left
        (changed(6), TEXT, True),  # 7 of 14: a change affects the runs that start before it, too
        (changed(7), TEXT, False),  # 6 of 14
        (changed(13), TEXT, False),  # the middle word is in all runs but one
        (" ".join(reversed(WORDS)), TEXT, False),
        ("", TEXT, False),
        ("a b c", "a b c", True),  # a short text is a single run
        ("a b c d", "a b c", False),
    ],
)
def test_half_of_the_runs_in_one_training_row_make_a_near_duplicate(training, test, near):
    found = frozenset({0}) if near else frozenset()
    assert near_rows((training,), (test,)) == (found, found)


def test_runs_in_different_training_rows_do_not_add_up():
    left, right = " ".join(WORDS[:16]), " ".join(WORDS[-16:])
    assert near_rows((left, right), (TEXT,)) == (frozenset(), frozenset())
    assert near_rows((f"{left} {right}",), (TEXT,))[1] == {0}


def test_near_duplicates_are_identified_by_row_number():
    assert near_rows((changed(13), TEXT, changed(0)), ("a b c", TEXT)) == ({1, 2}, {1})
