import pytest

from bench.report.comparison import Comparison
from bench.report.page.words import sentence


def sentence_of(verdict, difference=-2.44, low=-4.1, high=-0.6, column="micro", **facts):
    ends = {"low": low, "high": high, "seeds": (0, 1, 2)}
    names = ("vs. LoRA", "hyplora", "lora", "HypLoRA", "LoRA", column)
    return sentence(Comparison(*names, verdict=verdict, difference=difference, **ends, **facts))


def text_of(found):
    return f"{found.subject} {found.verdict}{found.rest}"


def test_a_claim_has_its_interval_p_value_and_seeds():
    found = sentence_of("worse", p=0.01, p_holm=0.0301)
    assert text_of(found) == (
        "HypLoRA is worse than LoRA: -2.4 percentage points "
        "(95% interval -4.1 to -0.6, p (Holm) 0.030, 3 seeds)."
    )
    assert found.mark == "worse"


def test_bits_per_byte_have_their_unit():
    found = sentence_of("better", -0.1487, -0.17, -0.13, column="bits_per_byte")
    assert "HypLoRA is better than LoRA: -0.149 bits per byte" in text_of(found)


def test_nll_has_its_unit():
    found = sentence_of("better", -0.1487, -0.17, -0.13, measure="nll")
    assert "HypLoRA is better than LoRA: -0.149 nats per token (95%" in text_of(found)


@pytest.mark.parametrize("verdict", ["n.s.", "n.s. (too few seeds)"])
def test_what_is_not_significant_is_not_marked(verdict):
    found = sentence_of(verdict, low=None, high=None)
    assert found.mark == "open"
    assert text_of(found).startswith(
        f"HypLoRA vs. LoRA: {verdict}: -2.4 percentage points (3 seeds)"
    )
