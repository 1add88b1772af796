import pytest

from bench.data.prompts import CHOICE_RULES, LETTER_RULES
from bench.errors import InputError
from bench.evaluation.answers import extract_choice, extract_letter, extract_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10-7=3", 3.0),
        ("10-7", -7.0),
        ("3--4", -4.0),
        ("The answer is - 4.5", 4.5),
        ("The answer is \N{MINUS SIGN}4", 4.0),
        ("The answer is 1,234.", 1234.0),
        ("between 1,2", 12.0),
        ("1.2.3", 3.0),
        (".5", 5.0),
        ("1/2", 2.0),
        (r"\frac{3}{4}", 4.0),
        ("1e3", 3.0),
        ("5^2", 2.0),
        ("$-5", -5.0),
        ("\N{POUND SIGN}1,000 or so", 1000.0),
        ("It is 8 in 2024", 2024.0),
        (r"$\boxed{-1,200}$.", -1200.0),
        (r"\boxed{7} after 3 steps", 3.0),
        ("none at all", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_the_last_number_counts(text, number):
    assert extract_number(text) == number


@pytest.mark.parametrize(
    ("text", "first", "paper", "released"),
    [
        (r"So \boxed{\text{B}}.", "B", None, "B"),
        (r"So \boxed{\text{(B)}}.", "B", "B", "B"),
        (r"(A) is near, but \boxed{(C)} it is. Not (D).", "A", "D", "C"),
        (r"\boxed{C}, that is \boxed{\text{B}}", "C", None, "B"),
        (r"\boxed{42}", None, None, None),
        ("The answer is (B).", "B", "B", "B"),
        ("Not (A), nor (C): the answer is D.", "A", "C", "C"),
        ("The answer is: E", "E", None, "E"),
        ("the correct answer is C", "C", "C", "C"),
        ("the Correct Answer Is C, or the correct answer is D", "C", "D", "D"),
        ("the correct answer is (C", "C", None, "C"),
        ("It is what it is: C.", "C", None, "C"),
        ("It is C. Sure", "C", None, None),
        ("option (D) or option E", "D", "D", "D"),
        ("Take option D or option E", "D", None, "E"),
        ("the correct answer is b", None, "b", "b"),
        ("it is b.", None, None, None),
        ("No idea", None, None, None),
        ("An Answer", "A", None, None),
        ("Answer: C", "A", None, None),
        ("Each is half: (D)", "E", "D", "D"),
        ("", None, None, None),
    ],
)
def test_which_letter_counts_under_each_rule(text, first, paper, released):
    assert {rule: extract_letter(text, rule) for rule in LETTER_RULES} == {
        "first": first,
        "paper": paper,
        "released": released,
    }


@pytest.mark.parametrize(
    ("task", "text", "first", "lower"),
    [
        ("boolq", "the correct answer is true, not false", "true", "true"),
        ("BoolQ", "untrue", "true", "true"),
        ("boolq", "True", None, "true"),
        ("boolq", "False, that is: true", "true", "false"),
        ("piqa", "Solution2 beats solution1", "solution1", "solution2"),
        ("piqa", "solution 2", None, None),
        ("piqa", "answer2", None, None),
        ("social_i_qa", "answer5, or answer1", "answer5", "answer5"),
        ("ARC-Easy", "the correct answer is answer5", "answer5", "answer5"),
        ("ARC-Challenge", "ANSWER2", None, "answer2"),
        ("openbookqa", "answer12", "answer1", "answer1"),
        ("winogrande", "Option1/option2", "option2", "option1"),
    ],
)
def test_which_choice_counts_under_each_rule(task, text, first, lower):
    assert {rule: extract_choice(text, task, rule) for rule in CHOICE_RULES} == {
        "first": first,
        "lower": lower,
    }


def test_the_default_rules_are_the_published_ones_and_an_unknown_one_is_refused():
    assert extract_choice("True, or rather false", "boolq") == "false"
    assert extract_letter("Answer: the answer is D") == "D"
    with pytest.raises(InputError, match="Did you mean released"):
        extract_letter("(A)", "release")
    with pytest.raises(InputError, match="Did you mean lower"):
        extract_choice("true", "boolq", "lowered")
    with pytest.raises(InputError, match="Did you mean piqa"):
        extract_choice("solution1", "pica")
