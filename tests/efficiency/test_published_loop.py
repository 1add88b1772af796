import pytest

from bench.data.problems import Problem
from bench.data.prompts import evaluation_text
from bench.efficiency.evaluation import SAME, compared_protocols
from bench.efficiency.published_loop import generate, letter_in, number_in, prompt_of
from bench.evaluation.answers import extract_letter, extract_number


def test_its_prompts_are_those_of_the_protocol():
    protocol = compared_protocols(256)[SAME]
    for given in ("", "a table {instruction}"):
        problem = Problem("mawps", "How many {input} are 2 + 3?", given, "5", "5")
        assert prompt_of(problem) == evaluation_text(problem, protocol)


@pytest.mark.parametrize(
    "text", ["10-7=3", "10-7", "1/2", "The answer is 1,008.", "-3.", "Option C.", "none", ""]
)
def test_it_extracts_what_ours_does(text):
    assert number_in(text) == extract_number(text)
    assert letter_in(text) == extract_letter(text, "first")


def test_generation_stops_at_the_limit_and_returns_no_prompt(tiny):
    problem = Problem("mawps", "Tom has 13 apples and eats 4. How many are left?", "", "9", "9")
    text, tokens = generate(*tiny, problem, max_new_tokens=6)
    assert tokens == 6 and text and "Instruction" not in text
