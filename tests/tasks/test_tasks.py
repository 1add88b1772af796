import pytest

from bench import tasks


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("576.0", "number"),
        ("1,024", "number"),
        ("-3", "number"),
        ("A", "letter"),
        ("E", "letter"),
        ("F", None),
        ("b", None),
        ("(B)", None),
        ("nan", None),
        ("true", "choice"),
        ("answer5", "choice"),
        ("True", None),
        ("answer6", None),
        ("", None),
    ],
)
def test_an_answer_is_a_number_a_letter_a_choice_or_nothing_of_these(answer, kind):
    assert tasks.answer_kind(answer) == kind


def test_a_benchmark_is_found_whatever_its_case():
    task = tasks.find("aqua")
    assert task is not None
    assert (task.key, task.answer, task.chance) == ("AQuA", "letter", 20.0)


def test_a_benchmark_is_numeric_unless_it_says_otherwise():
    assert tasks.find("mawps").answer == "number"


def test_a_set_that_no_file_describes_is_not_found():
    assert tasks.find("nope") is None


@pytest.mark.parametrize(
    ("answer", "kind", "sought"),
    [
        ("12", "number", ()),
        ("C", "letter", ()),
        ("option1", "choice", ("option1", "option2")),
        ("?", "number", ()),
    ],
)
def test_a_set_that_no_file_describes_is_what_its_answers_are(answer, kind, sought):
    task = tasks.describe("nope", answer)
    assert (task.key, task.answer, task.sought) == ("nope", kind, sought)


def test_a_benchmark_may_have_choices_of_its_own():
    task = tasks.Task("nli", "NLI", answer="choice", choices=("yes", "no", "maybe"))
    assert task.sought == ("yes", "no", "maybe")
    assert task.accepts("maybe") and not task.accepts("true")
