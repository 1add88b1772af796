import pytest

from bench.report.page.words import sentence
from bench.report.statistics import PairedDifference


def told(verdict, difference=-2.44, low=-4.1, high=-0.6, **facts):
    found = PairedDifference(
        "hyplora", 1.0, "HypLoRA", "LoRA", "micro", verdict, difference, low, high, **facts
    )
    return sentence(found)


def test_a_claim_has_its_interval_and_what_it_goes_by():
    found = told("worse", p=0.01, p_holm=0.0301, seeds=(0, 1, 2))
    assert found.text == (
        "HypLoRA is worse than LoRA: -2.4 points "
        "(95% interval -4.1 to -0.6, p (Holm) 0.030, of 3 seeds)."
    )
    assert found.mark == "worse"


def test_no_claim_says_what_it_would_take():
    found = told("not separated", would_separate="about 9 seeds", seeds=(0, 1, 2))
    assert found.text.endswith("of 3 seeds); to separate that takes about 9 seeds.")
    assert found.text.startswith("HypLoRA and LoRA are not separated: -2.4 points (")


@pytest.mark.parametrize("verdict", ["not separated", "not separated (seeds)"])
def test_what_is_not_separated_is_not_marked(verdict):
    assert told(verdict, low=None, high=None).mark == "open"
