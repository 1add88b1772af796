"""Near-duplicates: which share enough wording, which do not, and how fast it is known."""

import string
import time

import pytest

from bench.data.near import near_rows

WORDS = string.ascii_lowercase
TEXT = " ".join(WORDS)  # 26 words, 14 runs of 13


def near(test, *training):
    return near_rows(training, (test,)) == (frozenset({0}), frozenset(range(len(training))))


def changed(*places):
    return " ".join("?" if i in places else word for i, word in enumerate(WORDS))


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (TEXT, True),
        (f"before {TEXT} and after", True),
        (changed(0), True),  # 13 of 14 runs left
        (changed(6), True),  # 7 of 14: a change hits the runs that begin before it, too
        (changed(7), False),  # 6 of 14
        (changed(13), False),  # the word in the middle stands in all runs but one
        (" ".join(reversed(WORDS)), False),
        ("", False),
    ],
)
def test_half_of_the_runs_in_one_training_row_make_a_near_duplicate(training, expected):
    assert near(TEXT, training) is expected


def test_runs_in_different_training_rows_do_not_add_up():
    left, right = " ".join(WORDS[:16]), " ".join(WORDS[-16:])
    assert near_rows((left, right), (TEXT,)) == (frozenset(), frozenset())
    assert near_rows((f"{left} {right}",), (TEXT,))[0] == {0}


def test_a_short_text_is_one_run():
    assert near("a b c", "a b c")
    assert not near("a b c", "a b c d")


def test_the_rows_are_told_by_their_places():
    found = near_rows((changed(13), TEXT, changed(0)), ("a b c", TEXT))
    assert found == ({1}, {1, 2})


def test_the_public_math_file_is_searched_in_well_under_a_minute(shared_data):
    from bench.data.overlap import count_overlap
    from bench.data.problems import DataSettings
    from bench.data.sources import load_problems

    names = ["mawps", "SVAMP", "AQuA", "boolq", "piqa", "social_i_qa", "openbookqa"]
    root = str(shared_data / "llm_adapters")
    sets = load_problems(DataSettings("llm_adapters", ["math_data"], names, root=root), True)
    began = time.perf_counter()
    tests, _ = count_overlap(sets.train + sets.validation, sets.tests)
    assert time.perf_counter() - began < 30
    assert {key: counts["near"] for key, counts in tests.items()} == {
        "mawps": 140,
        "SVAMP": 890,
        "AQuA": 203,
        "boolq": 0,
        "piqa": 0,
        "social_i_qa": 0,
        "openbookqa": 0,
    }
    assert all(c["exact"] <= c["masked"] <= c["near"] <= c["rows"] for c in tests.values())
