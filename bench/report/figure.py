"""Figures: one Vega-Lite specification each, for SVG, PNG and the HTML page."""

from __future__ import annotations

import json
import re
import struct
import textwrap
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from bench.report import theme

PANEL = 100  # pixels: the width of a panel before the figure is fitted to a width
CHARACTERS = 132  # in a line of a caption
DPI = 200


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: the end of its files' names.
        title: what it shows, in a few words.
        caption: what its marks are, and what to keep in mind.
        chart: an Altair chart without title and configuration. Each panel has a width and a height;
            facets and concatenations set `columns`, the most panels side by side.
        height: approximate height in pixels, which the page reserves until the figure is drawn.
    """

    name: str
    title: str
    caption: str
    chart: Any
    height: int = 300

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The chart as Vega-Lite."""
        return self.chart.to_dict()


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write <stem>.svg and <stem>.png, 6.75 inches wide, the same bytes for the same figure."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.svg", folder / f"{stem}.png"]
    svg = numbered(_fitted(figure))
    paths[0].write_text(svg, encoding="utf-8")
    paths[1].write_bytes(_compressed(vl_convert.svg_to_png(svg, scale=72 / 96, ppi=DPI)))
    return paths


def page_spec(figure: Figure) -> dict[str, Any]:
    """The specification in the colours of the page's style sheet; charts.js fits it to a width."""
    return figure.spec | {"config": theme.config(page=True)}


def _fitted(figure: Figure) -> str:
    """An SVG of the print width. What axes and legends take is known after a first drawing."""
    panels: list[dict[str, Any]] = []
    columns = [1]

    def visit(part: dict[str, Any]) -> dict[str, Any]:
        if part.keys() >= {"width", "height"}:
            panels.append(part)
        if part.keys() & {"facet", "concat"}:
            columns.append(part.get("columns", 1))
        return part

    spec = json.loads(json.dumps(figure.spec), object_hook=visit)
    across = max(columns)
    title, caption = (textwrap.wrap(text, CHARACTERS) for text in (figure.title, figure.caption))
    spec |= {"title": {"text": title, "subtitle": caption, "frame": "bounds"}}
    spec["config"] = theme.config()
    width = theme.WIDTH / across  # at first: more than the title and legends need
    for _ in range(5):
        for panel in panels:
            panel["width"] = width
        svg = vl_convert.vegalite_to_svg(spec)
        found = re.search(r'width="([\d.]+)"', svg)
        excess = float(found[1]) - theme.WIDTH if found else 0.0
        if abs(excess) < 1:
            break
        width = max(20, width - excess / across)
    return svg


def numbered(svg: str) -> str:
    """The same SVG with ids counted from 0: vl-convert counts on over the figures of a process."""
    ids: dict[str, str] = {}
    return re.sub(
        r'(?<=[#"])clip\d+', lambda found: ids.setdefault(found[0], f"clip{len(ids)}"), svg
    )


def _compressed(png: bytes) -> bytes:
    """The same image in about a quarter of the bytes: vl-convert compresses for speed."""
    kept, pixels, place = [], b"", 8
    while place < len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        if kind == b"IDAT":
            pixels += png[place + 8 : place + 8 + length]
        else:
            kept.append(png[place : place + 12 + length])
        place += 12 + length
    content = b"IDAT" + zlib.compress(zlib.decompress(pixels), 9)
    image = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return png[:8] + b"".join([*kept[:-1], image, kept[-1]])


def data(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows as Altair data, without values that are None; floats have four digits."""

    def rounded(value: Any) -> Any:
        return float(f"{value:.4g}") if isinstance(value, float) else value

    return alt.Data(values=[{k: rounded(v) for k, v in r.items() if v is not None} for r in rows])


def look(
    field: str, looks: Mapping[str, theme.Look], legend: bool = True, width: int = theme.WIDTH
) -> dict[str, Any]:
    """The encodings `color` and `shape` of a field's values.

    `looks` has them in the order of the legend, whose `width` is in pixels.
    """
    columns = max(1, int(width / (theme.longest(looks) + 30)))
    more: dict[str, Any] = {"title": None}
    more["legend"] = alt.Legend(columns=columns) if legend else None
    colours, shapes = zip(*looks.values(), strict=True)
    scales = [alt.Scale(domain=list(looks), range=list(each)) for each in (colours, shapes)]
    return {
        "color": alt.Color(f"{field}:N", scale=scales[0], **more),
        "shape": alt.Shape(f"{field}:N", scale=scales[1], **more),
    }


def names(field: str, order: Sequence[str], extent: float = 0) -> Any:
    """A vertical axis with a name for each row, the first at the top.

    `extent` is the minimum width of the names in pixels, so that stacked figures align.
    """
    axis = alt.Axis(labelPadding=6, ticks=False, domain=False, grid=True, minExtent=extent)
    return alt.Y(f"{field}:N", title=None, scale=alt.Scale(domain=list(order)), axis=axis)


def whiskers(middle: str, x: Any, looks: Mapping[str, Any], size: int = 36, **more: Any) -> Any:
    """A line from `low` to `high` and a point at the field `middle`, as two layers.

    `x` encodes `low`, with the title and scale of the axis; `looks` are from `look`; `more` are
    encodings of both.
    """
    base = alt.Chart().encode(color=looks["color"], **more)
    point = base.mark_point(size=size).encode(x=f"{middle}:Q", shape=looks["shape"])
    return base.mark_rule().encode(x=x, x2="high:Q"), point


def line_at(place: float) -> Any:
    """A vertical line through a panel."""
    return alt.Chart(alt.Data(values=[{"at": place}])).mark_rule(tooltip=None).encode(x="at:Q")


def facet(
    layers: Sequence[Any], rows: Any, by: str, order: Sequence[str], columns: int, height: Any,
    **independent: Any,
) -> Any:  # fmt: skip
    """A panel of superimposed layers for each value of a field.

    Args:
        layers: the layers of each panel.
        rows: data of all panels, from `data`.
        by: the field; a line break in its values starts a new line of the heading.
        order: of its values.
        columns: the most panels side by side.
        height: of a panel in pixels, or `{"step": pixels of a row}`.
        independent: scales that are not shared, e.g. `x="independent"`.
    """
    header = alt.Header(labelExpr="split(datum.value, '\\n')")
    heading = alt.Facet(f"{by}:N", title=None, sort=list(order), header=header)
    panel = alt.layer(*layers, data=rows).properties(width=PANEL, height=height)
    return panel.facet(heading, columns=min(columns, len(order))).resolve_scale(**independent)


def panel(layers: Sequence[Any], title: str, height: float) -> Any:
    """Superimposed charts, as a part of a concatenation."""
    heading = alt.Title(title, anchor="middle", fontWeight="normal", offset=4)
    return alt.layer(*layers).properties(width=PANEL, height=height, title=heading)


def log_axis(values: Iterable[float], **more: Any) -> dict[str, Any]:
    """Scale and axis (with `more`) of a logarithmic channel, labelled for the values drawn."""
    label = "datum.value < 1e-3 || datum.value >= 1e4 ? format(datum.value, '.0e') : datum.label"
    axis = alt.Axis(**{"values": ticks(values), "format": "~g", "labelExpr": label} | more)
    return {"scale": alt.Scale(type="log", nice=False, padding=6), "axis": axis}


def ticks(values: Iterable[float]) -> list[float]:
    """Where a logarithmic axis is labelled: at powers of ten, at 1, 2, 5, or in even steps."""
    positive = [value for value in values if value > 0]
    if not positive:
        return []
    low, high = min(positive), max(positive)
    tens = range(floor(log10(low)), ceil(log10(high)) + 1)
    if high > 100 * low:
        stride = ceil(log10(high / low) / 5)
        found = [10.0**exponent for exponent in tens if exponent % stride == 0]
    elif high > 4 * low:
        found = [digit * 10.0**exponent for exponent in tens for digit in (1, 2, 5)]
    else:
        step = round_step((high - low) / 3) if high > low else low
        found = [step * place for place in range(floor(low / step), ceil(high / step) + 1)]
    return [float(f"{tick:.6g}") for tick in found if 0.99 * low <= tick <= 1.01 * high]


def round_step(most: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is at most a positive number."""
    ten = 10.0 ** floor(log10(most))
    return next(digit * ten for digit in (5, 2, 1) if digit * ten <= most)


def line_grid(
    facts: Sequence[Mapping[str, Any]], statistics: Mapping[str, str], x: str, columns: int,
    looks: Mapping[str, Any], height: int,
) -> Any:  # fmt: skip
    """Lines over layers: a row of panels for each statistic, a panel for each module type.

    Args:
        facts: rows with the fields `module`, `when` (solid, or dashed and hollow), x and, on
            logarithmic axes, the statistics, of which at least one is known.
        statistics: titles of the rows of panels, by field.
        x: the field with the number of the layer.
        columns: the most panels side by side.
        looks: from `look`.
        height: of a panel.
    """
    rows, blocks = data(facts), []
    across = alt.X(f"{x}:Q", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(padding=6))
    dashed = alt.datum.when == "dashed"
    for statistic, title in statistics.items():
        if not any(fact.get(statistic) for fact in facts):
            continue
        log = log_axis((fact.get(statistic) or 0 for fact in facts), minExtent=42)
        base = alt.Chart().encode(
            x=across,
            y=alt.Y(f"{statistic}:Q", title=None, **log),
            color=looks["color"],
            detail="when:N",
        )
        lines = base.mark_line(strokeWidth=0.9).encode(
            strokeDash=alt.condition(dashed, alt.value([3, 2]), alt.value([1, 0]))
        )
        points = base.mark_point(filled=False, strokeWidth=0.9, size=25).encode(
            shape=looks["shape"],
            fill=looks["color"],
            fillOpacity=alt.condition(dashed, alt.value(0), alt.value(1)),
        )
        modules = list(dict.fromkeys(fact["module"] for fact in facts))
        block = facet((lines, points), rows, "module", modules, columns, height)
        blocks.append(block.properties(title=title))
    return alt.vconcat(*blocks)
