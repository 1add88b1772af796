import pytest

from bench.data.overlap import count_overlap, exact_text, masked_text, resolve_overlap
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


def test_numbers_case_and_punctuation_do_not_count_when_masked():
    assert masked_text(problem("Tom has 1,234.5 cups!")) == masked_text(problem("tom has 7 CUPS"))
    assert masked_text(problem("Tom has cups")) != masked_text(problem("Tom has 7 cups"))


def test_white_space_does_not_count_in_either_form():
    assert exact_text(problem("a  b\n")) == exact_text(problem("a b"))


def test_test_rows_are_counted_to_the_letter_and_masked(sets):
    found = resolve_overlap(sets, keep=True)[1]
    assert found.tests == {
        "SVAMP": {"rows": 2, "exact": 1, "masked": 1, "near": 1},
        "mawps": {"rows": 1, "exact": 0, "masked": 1, "near": 1},
    }
    assert found.train == {"exact": 1, "masked": 2, "near": 2}


def test_near_duplicates_are_counted_and_never_dropped():
    told = "Ann has 3 pens and 4 more in a box that stands under the old table in her room."
    train = [problem(told.replace("Ann", "Sue")), problem("Nothing of the kind.")]
    sets = ProblemSets(train=train, validation=[], tests={"mawps": [problem(told)]})
    kept, found = resolve_overlap(sets, keep=False)
    assert found.tests["mawps"] == {"rows": 1, "exact": 0, "masked": 0, "near": 1}
    assert found.train == {"exact": 0, "masked": 0, "near": 1} and kept == sets


def test_counts_of_no_training_rows_are_zero():
    tests, train = count_overlap([], TESTS)
    assert tests["SVAMP"] == {"rows": 2, "exact": 0, "masked": 0, "near": 0}
    assert train == {"exact": 0, "masked": 0, "near": 0}


def test_training_rows_that_stand_in_a_test_set_are_dropped_unless_kept(sets):
    assert resolve_overlap(sets, keep=False)[0].train == []
    assert resolve_overlap(sets, keep=True)[0] == sets


def test_validation_rows_that_stand_in_a_test_set_are_dropped_too():
    sets = ProblemSets(train=TRAIN[2:], validation=TRAIN[:1], tests=TESTS)
    kept, found = resolve_overlap(sets, keep=False)
    assert kept.validation == [] and kept.train == TRAIN[2:] and found.train["masked"] == 1


def test_test_rows_are_never_changed(sets):
    assert resolve_overlap(sets, keep=False)[0].tests == TESTS


def test_the_synthetic_sets_do_not_overlap():
    from bench.data.problems import DataSettings
    from bench.data.sources import load_problems

    names = ["mawps", "SVAMP", "gsm8k", "AQuA"]
    settings = DataSettings("synthetic", names, names, train_size=300, test_size=100)
    found = resolve_overlap(load_problems(settings, trained=True), keep=False)[1]
    assert (found.train["exact"], found.train["masked"]) == (0, 0)


def test_the_public_math_file_holds_most_of_the_public_test_set(shared_data):
    from bench.data.problems import DataSettings
    from bench.data.sources import load_problems

    root = str(shared_data / "llm_adapters")
    settings = DataSettings("llm_adapters", ["math_data"], ["mawps", "SVAMP"], root=root)
    sets = load_problems(settings, trained=True)
    kept, found = resolve_overlap(sets, keep=False)
    assert found.tests["SVAMP"] == {"rows": 1000, "exact": 800, "masked": 800, "near": 890}
    assert found.tests["mawps"]["masked"] > found.tests["mawps"]["exact"] > 0
    assert len(kept.train) < len(sets.train) - 800
