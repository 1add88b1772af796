"""Which labels of a crowded picture can be read at which scale."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WIDTH, WIDE_WIDTH, HEIGHT = 0.58, 1.05, 1.2  # of a letter, in its size; wide ones are CJK's


def text_width(text: str, size: float) -> float:
    """About how wide a text in a sans serif of that size is, in the size's unit."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return size * (WIDTH * (len(text) - wide + 0.5) + WIDE_WIDTH * wide)


def label_scales(
    places: NDArray[np.float64], texts: Sequence[str], sizes: Sequence[float]
) -> list[float]:
    """From which scale on each label can stand without covering one that comes before it.

    A label keeps its size while the picture grows around it, so two that are clear of each other
    at one scale are so at every larger one: each pair has a scale from which on both have room. A
    label has to wait for that scale where the other one stands already.

    Args:
        places: middles of the labels, (n, 2), in the picture's unit.
        texts: the labels, the most important first.
        sizes: of their type, in pixels or points.

    Returns:
        Pixels or points for a unit of the picture, at which the label appears; 0: at any.
        Infinite for one in the same place as a label before it.
    """
    widths = np.array([text_width(text, size) for text, size in zip(texts, sizes, strict=True)])
    heights = HEIGHT * np.asarray(sizes, dtype=float)
    scales = np.zeros(len(texts))
    for i in range(1, len(texts)):
        across, along = np.abs(places[:i] - places[i]).T
        with np.errstate(divide="ignore"):
            clear = np.minimum(
                (widths[:i] + widths[i]) / 2 / across, (heights[:i] + heights[i]) / 2 / along
            )
        scales[i] = clear[clear > scales[:i]].max(initial=0)
    return scales.tolist()
