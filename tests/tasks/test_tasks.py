import pytest

from bench import tasks
from bench.evaluation.scoring import clusters
from bench.tasks.task import Task, answer_kind


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
        ("1,00,000", "number"),
        ("-1,024.5", "number"),
        ("true", "choice"),
        ("answer5", "choice"),
        ("True", None),
        ("answer6", None),
        ("", None),
    ],
)
def test_an_answer_is_a_number_a_letter_a_choice_or_none_of_these(answer, kind):
    assert answer_kind(answer) == kind


def test_a_benchmark_is_found_ignoring_case_and_is_numeric_by_default():
    task = tasks.find("aqua")
    assert (task.key, task.answer, task.chance) == ("AQuA", "letter", 20.0)
    assert tasks.find("mawps").answer == "number" and tasks.find("nope") is None


@pytest.mark.parametrize(
    ("answer", "kind", "sought"),
    [
        ("12", "number", ()),
        ("C", "letter", ()),
        ("option1", "choice", ("option1", "option2")),
        ("?", "number", ()),
    ],
)
def test_a_set_without_a_module_is_described_by_its_answers(answer, kind, sought):
    task = tasks.describe("nope", answer)
    assert (task.key, task.answer, task.sought) == ("nope", kind, sought)


def test_a_benchmark_may_have_its_own_choices():
    task = Task("nli", "NLI", answer="choice", choices=("yes", "no", "maybe"))
    assert task.sought == ("yes", "no", "maybe")
    assert task.accepts("maybe") and not task.accepts("true")


def test_problems_of_svamp_with_one_body_are_a_cluster_whatever_their_numbers_and_question():
    shared = "Baker made 19 cakes and 1,310 pastries. If he sold 70 cakes."
    texts = [
        f"{shared} How many cakes are left?",
        f"{shared} How many pastries would Baker still have?",
        shared.replace("19", "7").replace("1,310", "14.5") + " How many cakes are left?",
        "Allan brought 5 balloons. How many cakes are left?",
        "How many cakes are 5 cakes?",
        "How many cakes are left if 5 of 7 are sold",
    ]
    task = tasks.find("svamp")
    assert clusters(task, texts) == [0, 0, 0, 1, 2, 3]
    assert clusters(task, texts[2:]) is None


def test_rows_of_a_benchmark_without_clusters_are_independent():
    assert clusters(tasks.find("mawps"), ["A. B?", "A. B?"]) is None and clusters(None, []) is None
