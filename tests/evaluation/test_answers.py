import pytest

from bench.evaluation.answers import extract_number, numbers_agree


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10 - 7 = 3. The answer is 3.", 3.0),
        ("10-7=3", 3.0),
        ("10-7", -7.0),
        ("1/2", 2.0),
        ("The answer is 1,234.", 1234.0),
        ("The answer is -4.5", -4.5),
        ("12. And then nothing", 12.0),
        ("It is 8 in 2024", 2024.0),
        ("$5.00", 5.0),
        ("none at all", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_the_last_number_counts(text, number):
    assert extract_number(text) == number


@pytest.mark.parametrize(
    ("prediction", "answer", "agree"),
    [
        (8.0, "8.0", True),
        (8.0009, "8", True),
        (8.0011, "8", False),
        (1.833, "1.8333333333333335", True),
        (1200.0, "1,200", True),
        (None, "0", False),
    ],
)
def test_numbers_agree_within_the_tolerance(prediction, answer, agree):
    assert numbers_agree(prediction, answer, tolerance=0.001) is agree
