"""Holm's correction of p-values."""

from collections.abc import Sequence


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values over a family: at 5%, all verdicts hold in 95% of families.

    Holm, A simple sequentially rejective multiple test procedure, 1979.

    Args:
        p: of all comparisons of the family, in any order.

    Returns:
        The corrected p-values in the same order.
    """
    corrected = [1.0] * len(p)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        corrected[index] = largest
    return corrected
