import pytest

from bench.report.comparison import Comparison
from bench.report.page.words import sentence

NAMES = ("vs. LoRA", "hyplora", "lora", "HypLoRA", "LoRA")


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (
            {"verdict": "worse", "p": 0.01, "p_holm": 0.0301},
            "HypLoRA is worse than LoRA: -2.4 percentage points "
            "(95% interval -4.1 to -0.6, p (Holm) 0.030, 3 seeds).",
        ),
        (
            {"verdict": "better", "measure": "bits_per_byte"},
            "HypLoRA is better than LoRA: -2.440 bits per byte "
            "(95% interval -4.100 to -0.600, 3 seeds).",
        ),
        (
            {"verdict": "better", "measure": "nll", "low": None},
            "HypLoRA is better than LoRA: -2.440 nats per token (3 seeds).",
        ),
        (
            {"verdict": "n.s. (too few seeds)", "low": None, "high": None, "seeds": (0,)},
            "HypLoRA vs. LoRA: n.s. (too few seeds): -2.4 percentage points (1 seed).",
        ),
    ],
)
def test_a_comparison_is_a_sentence(facts, text):
    given = {"column": "micro", "difference": -2.44, "low": -4.1, "high": -0.6, "seeds": (0, 1, 2)}
    start, verdict, rest = sentence(Comparison(*NAMES, **given | facts))
    assert f"{start} {verdict}{rest}" == text
