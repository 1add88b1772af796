"""What all figures have in common: size, text, colours and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.report.comparison import BETTER, FEW_SEEDS, NOT_SIGNIFICANT, WORSE
from bench.report.scores import ScoreRow

# Pixels (1/96 inch): the text width of a paper in two columns, 6.75 inches, and text of 8 points.
WIDTH = 648
TEXT = 8 * 96 / 72
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"

Look = tuple[str, str]  # a colour, and a shape of Vega's

# Distinct for people with any colour vision, legible on white and on the dark page.
BLUE, ORANGE, GREEN, MAUVE, RED, VIOLET = PALETTE = (
    "#2D8CE6", "#D27800", "#00785A", "#B478A5", "#D20F2D", "#783CFF",
)  # fmt: skip
GREY = "#777777"
SHAPES = (
    "circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right",
    "triangle-left",
)  # fmt: skip

# A method looks the same in every figure. Variants of a method share a colour.
METHODS: dict[str, Look] = {
    "none": (GREY, "triangle-left"),
    "prefix": (MAUVE, "cross"),
    "series": (GREEN, "triangle-up"),
    "parallel": (GREEN, "triangle-down"),
    "lora": (BLUE, "circle"),
    "lora_matched": (BLUE, "square"),
    "dora": (VIOLET, "triangle-right"),
    "hyplora": (RED, "diamond"),
    "hyplora_boost": (ORANGE, "triangle-up"),
    "hyplora_tangent": (ORANGE, "square"),
    "hyplora_authors": (MAUVE, "diamond"),
    "hyplora_authors_simplified": (MAUVE, "triangle-down"),
}
# For methods that are not listed above.
OTHERS = [
    (colour, shape)
    for shape in reversed(SHAPES)
    for colour in PALETTE
    if (colour, shape) not in METHODS.values()
]
VERDICTS: dict[str, Look] = {
    BETTER: (GREEN, "triangle-up"),
    WORSE: (RED, "triangle-down"),
    NOT_SIGNIFICANT: (GREY, "circle"),
    FEW_SEEDS: (GREY, "cross"),
}
MOST_ROWS = 8  # whose lines can be distinguished in one panel


def look_of(index: int) -> Look:
    """Colour and shape of a series by its place."""
    return PALETTE[index % len(PALETTE)], SHAPES[index % len(SHAPES)]


def method_looks(methods: Iterable[str]) -> dict[str, Look]:
    """Colour and shape of each method, by its key, in the order given."""
    found = dict.fromkeys(methods)
    unknown = [method for method in found if method not in METHODS]
    return {
        method: METHODS.get(method) or OTHERS[unknown.index(method) % len(OTHERS)]
        for method in found
    }


def row_looks(rows: Sequence[ScoreRow]) -> dict[str, Look]:
    """Colour and shape of each row, by its label: its method's if no other row has that method."""
    looks = method_looks(row.method for row in rows)
    if len(looks) == len(rows):
        return {row.label: looks[row.method] for row in rows}
    return {row.label: look_of(index) for index, row in enumerate(rows)}


def config(page: bool = False) -> dict[str, Any]:
    """Vega-Lite's configuration: for print, or with the colours of the page's style sheet."""
    ink, soft, faint = ("#1d1d1b", "#5f5d57", "#e4e4e4")
    if page:
        ink, soft, faint = (f"var(--{name})" for name in ("ink", "soft", "rule"))
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": TEXT, "titleFontSize": TEXT}
    return {
        "background": "transparent" if page else "white",
        "padding": 3,
        "font": "var(--sans)" if page else FONT,
        "mark": {"invalid": "filter", "color": ink, "tooltip": {"content": "data"}},
        "line": {"tooltip": None},
        "view": {"stroke": None, "continuousWidth": 100, "continuousHeight": 130},
        "facet": {"spacing": 14},
        "concat": {"spacing": 14},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "titlePadding": 4,
            "gridColor": faint,
            "gridWidth": 0.6,
            "domainColor": soft,
            "tickColor": soft,
            "tickSize": 3,
            "labelLimit": 240,
        },
        "axisX": {"tickCount": 4},
        "header": {**text, "labelPadding": 4},
        "legend": {
            **text,
            "titleFontWeight": "normal",
            "orient": "bottom",
            "labelLimit": 0 if not page else 260,
            "symbolLimit": 0,
            "symbolSize": 45,
            "symbolStrokeWidth": 1.2,
            "symbolOpacity": 1,
            "columnPadding": 12,
        },
        "title": {
            "color": ink,
            "subtitleColor": ink,
            "fontSize": TEXT,
            "subtitleFontSize": TEXT,
            "fontWeight": "bold",
            "anchor": "start",
            "offset": 8,
        },
        "point": {"filled": True, "size": 36, "opacity": 1},
        "rule": {"color": soft, "strokeWidth": 1},
        "text": {"color": ink, "fontSize": TEXT},
    }


def longest(texts: Iterable[str]) -> float:
    """The approximate width in pixels of the longest of some texts."""
    return 0.51 * TEXT * max(map(len, texts), default=0)
