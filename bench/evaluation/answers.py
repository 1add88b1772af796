r"""Reading an answer out of generated text: pure functions, one for each kind of answer.

The number rule is that of LLM-Adapters' evaluate.py, which HypLoRA's tables use too: commas are
deleted, every `-?\d+\.?\d*` is a number, the last one counts. So "10 - 7 = 3" reads 3, "10-7"
reads -7 (a minus after a digit still belongs to the number), "1/2" reads 2, and a trailing year
or unit wins.
"""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"-?\d+\.?\d*")


def extract_number(text: str) -> float | None:
    """The last number of a text, or None where it has none, or one too long for a float.

    >>> extract_number("22-14=8. The answer is 1,008.")
    1008.0
    """
    found = _NUMBER.findall(text.replace(",", ""))
    number = float(found[-1]) if found else math.inf
    return number if math.isfinite(number) else None


def numbers_agree(prediction: float | None, answer: str, tolerance: float) -> bool:
    """Whether a prediction is within the tolerance (absolute) of the gold answer."""
    return prediction is not None and abs(prediction - float(answer.replace(",", ""))) <= tolerance
