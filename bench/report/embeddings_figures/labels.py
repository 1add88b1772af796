"""Which labels of a crowded figure can be read at which scale."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WIDTH, WIDE_WIDTH, HEIGHT = 0.58, 1.05, 1.2  # of a letter, relative to its size; wide: CJK


def text_width(text: str, size: float) -> float:
    """The approximate width of a text in a sans-serif font, in units of its size."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return size * (WIDTH * (len(text) - wide + 0.5) + WIDE_WIDTH * wide)


def label_scales(
    places: NDArray[np.float64], texts: Sequence[str], sizes: Sequence[float]
) -> list[float]:
    """From which scale on each label can be drawn without covering one that precedes it.

    A label keeps its size, `sizes` pixels, when the reader zooms in. A scale is in pixels per unit
    of `places`, (n, 2); 0: the label is always drawn; infinite: never, since one before it has the
    same place.
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
