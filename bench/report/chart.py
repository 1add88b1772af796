"""Figures with values on hover, as specs of vega-lite that a page draws itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Vega's names for matplotlib's markers.
SHAPES = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "D": "diamond",
    "P": "cross",
}
ROW = 24  # pixels for each row of a chart that has one name a row


@dataclass(frozen=True)
class Chart:
    """A figure with values on hover.

    Attributes:
        title: what it shows, in a few words.
        caption: what its marks are, of how many seeds, and what to beware of.
        spec: of vega-lite: `altair.Chart.to_dict()`, with `width="container"`.
        height: in pixels, which the page keeps free until the figure is drawn.
    """

    title: str
    caption: str
    spec: Mapping[str, Any]
    height: int = 260


def chart_of(title: str, caption: str, layers: Sequence[Any], height: int, **choices: Any) -> Chart:
    """A figure of altair's layers, as wide as the page.

    Args:
        title, caption: as in `Chart`.
        layers: altair charts, one over the other.
        height: of the plot in pixels.
        choices: altair parameters, by any name: a list to choose from, above or below the figure.
    """
    import altair

    chart = altair.layer(*layers).properties(width="container", height=height)
    spec = chart.add_params(*choices.values()).to_dict()
    return Chart(title, caption, _each_once(spec), height + 80)


def values(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows as altair's data, floats at four digits: more can't be seen, and makes a page large."""
    import altair

    return altair.Data(values=[{k: _rounded(v) for k, v in row.items()} for row in rows])


def choice(name: str, label: str, options: Sequence[str]) -> Any:
    """A list for the reader to choose from; the first option is chosen.

    Expressions of the chart know what was chosen by `name`.
    """
    import altair

    bound = altair.binding_select(options=list(options), name=f"{label} ")
    return altair.param(name=name, value=options[0], bind=bound)


def scales(looks: Mapping[str, tuple[str, str]]) -> tuple[Any, Any]:
    """Colour and shape by label, as in the printed figures.

    Args:
        looks: colour and matplotlib's marker of each label in the chart's data.
    """
    import altair

    names = list(looks)
    colour = altair.Scale(domain=names, range=[colour for colour, _ in looks.values()])
    shape = altair.Scale(domain=names, range=[SHAPES[marker] for _, marker in looks.values()])
    return colour, shape


def _each_once(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec whose layers name the data that they share, in place of a copy each."""
    datasets: list[Any] = []
    for part in (spec, *spec["layer"]):
        rows = part.get("data", {}).get("values")
        if rows is not None:
            if rows not in datasets:
                datasets.append(rows)
            part["data"] = {"name": f"rows {datasets.index(rows)}"}
    return spec | {"datasets": {f"rows {i}": rows for i, rows in enumerate(datasets)}}


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
