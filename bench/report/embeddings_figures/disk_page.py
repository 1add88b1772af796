"""Words in the Poincare disk, as a page to move about in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.embeddings_figures.disk import (
    COLOURS,
    KINDS,
    Label,
    by_count,
    kinds_of,
    notes_of,
    ring_labels,
    scaled,
    strengths,
    title_of,
)
from bench.report.embeddings_figures.labels import label_scales
from bench.report.page.shell import FIGURES, render
from bench.report.style import STYLES

SMALLEST, LARGEST = 10.0, 15.0  # pixels, of the rarest word and of the most frequent one
RING_SIZE = 10.0
DOTS = (12.0, 80.0)  # areas, in square pixels
TARGET = 200  # that of what the pointer meets
ROOM = 1.04  # half the width of the picture, in radii of the disk
CIRCLE = 121  # points
GREY = "#888888"  # to be seen on light and on dark
HELD_COLOUR = STYLES[1][0]
NOWHERE = 1e9  # JSON has no infinity: the scale of a word in the place of another

# Expressions of vega, of a row `datum`: what the pointer is on, and what is looked for.
HELD = "(isValid(held.id) && indexof(held.id, datum.id) >= 0)"
AKIN = "(isValid(held.id) && indexof(datum.of, held.id[0]) >= 0)"
SEARCHING = "(search != '')"
SOUGHT = f"({SEARCHING} && indexof(lower(datum.text), lower(search)) >= 0)"
FOUND = f"({SEARCHING} && lower(datum.text) == lower(search))"
# Pixels for a radius of the disk, from which on a label has room.
ROOMY = "(datum.scale <= width / (domain('x')[1] - domain('x')[0]))"

Words = Sequence[Mapping[str, Any]]


def disk_page(report: Mapping[str, Any]) -> str | None:
    """The page as text, one file that asks for nothing; None where no word was placed.

    Args:
        report: the plain data of the study.
    """
    placed = report["disk"]
    if not placed.get("words"):
        return None
    title = f"{report['model']['name']}: {title_of(placed)}"
    lead = (
        "Point at a word or tap it for its count, its norm and its nearest relatives. Drag to "
        "move; scroll or press + to zoom: more words are named where there is room."
    )
    words = by_count(placed["words"])
    rings = ring_labels(words, placed["rings"])
    rows = _rows(words, kinds_of(words, report["tokens"]), rings)
    return render(
        "disk.html",
        title,
        (*FIGURES, "disk.js"),
        lead=lead,
        words=[
            {"text": row["text"], "x": row["x"], "y": row["y"], "told": _told(row)} for row in rows
        ],
        spec=_chart(words, rows, placed["rings"], rings).to_dict(),
        notes=notes_of(placed),
    )


def _told(row: Mapping[str, Any]) -> str:
    """What is told of a word, in a line."""
    facts = f"{row['count']:,} occurrences, norm {row['norm']:.4g}"
    return f"{facts}. Relatives (cosine): {row['relatives'] or 'none'}. Edge to {row['parent']}."


def _chart(
    words: Words,
    rows: Sequence[Mapping[str, Any]],
    circles: Sequence[Mapping[str, float]],
    rings: Sequence[Label],
) -> Any:
    import altair as alt

    find = alt.BindInput(
        input="search", name="Find ", placeholder="a word", autocomplete="off", element="#find"
    )
    # It stays when the pointer leaves: a finger's does so at once.
    held = alt.selection_point(name="held", fields=["id"], on="pointerover", empty=False)
    frame = alt.selection_interval(name="frame", bind="scales")
    layers = (
        _circles(circles),
        _edges(words),
        _ring_texts(rings),
        _dots(rows),
        _texts(rows),
        _targets(rows).add_params(held, frame),
    )
    chart = alt.layer(*layers).add_params(alt.param(name="search", value="", bind=find))
    return chart.properties(width="container", height=320, padding=2).configure_view(stroke=None)


def _rows(words: Words, kinds: Sequence[str], rings: Sequence[Label]) -> list[dict[str, Any]]:
    """What the chart knows of each word; `of` are the words whose near relative it is."""
    counts = [word["count"] for word in words]
    sizes, areas = scaled(counts, SMALLEST, LARGEST), scaled(counts, *DOTS)
    labels = [*rings, *((word["text"], word["x"], word["y"]) for word in words)]
    scales = label_scales(
        np.array([(x, y) for _, x, y in labels]),
        [text for text, _, _ in labels],
        [RING_SIZE] * len(rings) + sizes,
    )[len(rings) :]
    return [
        {
            "id": place,
            "text": word["text"],
            "count": word["count"],
            "norm": float(f"{word['norm']:.5g}"),
            "x": word["x"],
            "y": word["y"],
            "kind": KINDS[kind],
            "relatives": ", ".join(
                f"{words[relative]['text']} {cosine:.2f}"
                for relative, cosine in zip(word["relatives"], word["cosines"], strict=True)
            ),
            "parent": "nothing: its norm is the smallest"
            if word["parent"] is None
            else f"{words[word['parent']]['text']} {word['cosine']:.2f}",
            "of": [i for i, other in enumerate(words) if place in other["relatives"]],
            "size": round(size, 1),
            "area": round(area, 1),
            "scale": round(scale, 1) if math.isfinite(scale) else NOWHERE,
        }
        for place, (word, kind, size, area, scale) in enumerate(
            zip(words, kinds, sizes, areas, scales, strict=True)
        )
    ]


def _dots(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The words as dots; those that matter at the moment have a rim."""
    import altair as alt

    kinds = [kind for kind in KINDS if any(row["kind"] == KINDS[kind] for row in rows)]
    scale = alt.Scale(domain=[KINDS[k] for k in kinds], range=[COLOURS[k] for k in kinds])
    legend = alt.Legend(title=None, orient="bottom", direction="horizontal", symbolOpacity=1)
    colour = alt.Color("kind:N", scale=scale, legend=legend)
    faded = alt.when(f"{SEARCHING} && !{SOUGHT} && !{HELD}")
    rimmed = alt.when(f"{HELD} || {AKIN} || {SOUGHT}")
    return _placed(rows).mark_circle(stroke=GREY).encode(
        color=colour,
        size=alt.Size("area:Q", scale=None),
        opacity=faded.then(alt.value(0.12)).otherwise(alt.value(0.85)),
        strokeWidth=rimmed.then(alt.value(2.5)).otherwise(alt.value(0)),
    )  # fmt: skip


def _targets(rows: Sequence[Mapping[str, Any]]) -> Any:
    """What the pointer meets: larger than a dot, since fingers are; frequent words lie on top."""
    import altair as alt

    rows = rows[::-1]
    return _placed(rows).mark_circle(size=TARGET, opacity=0).encode(
        tooltip=[
            alt.Tooltip("text:N", title="word"),
            alt.Tooltip("count:Q", title="occurrences", format=","),
            alt.Tooltip("norm:Q", title="norm", format=".4g"),
            alt.Tooltip("relatives:N", title="relatives (cosine)"),
            alt.Tooltip("parent:N", title="edge to"),
        ],
    )  # fmt: skip


def _texts(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The words themselves, where there is room or a reason."""
    import altair as alt

    wanted = alt.when(f"{HELD} || {FOUND} || ({AKIN} || {SOUGHT}) && {ROOMY}").then(alt.value(1))
    roomy = wanted.when(f"!{SEARCHING} && {ROOMY}").then(alt.value(0.9))
    return _placed(rows).mark_text(baseline="bottom", dy=-4).encode(
        text="text:N",
        size=alt.Size("size:Q", scale=None),
        opacity=roomy.otherwise(alt.value(0)),
    )  # fmt: skip


def _edges(words: Words) -> Any:
    """Geodesics to the parents; that of the word under the pointer stands out."""
    import altair as alt

    rows = [
        {"id": place, "opacity": round(0.2 + 0.4 * strength, 2), **_path(word["edge"])}
        for place, (word, strength) in enumerate(zip(words, strengths(words), strict=True))
        if word["edge"]
    ]
    held = alt.when(HELD)
    width = held.then(alt.value(3)).when(SEARCHING).then(alt.value(0.1))
    return _lines(rows).encode(
        detail="id:N",
        opacity=alt.Opacity("opacity:Q", scale=None),
        color=held.then(alt.value(HELD_COLOUR)).otherwise(alt.value(GREY)),
        strokeWidth=width.otherwise(alt.value(0.8)),
    )


def _circles(rings: Sequence[Mapping[str, float]]) -> Any:
    """The boundary, and rings of one norm."""
    import altair as alt

    boundary = {"opacity": 0.9, "width": 1.5}
    turns = np.linspace(0, 2 * math.pi, CIRCLE)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    rows = [
        {"id": place, **look, **_path((radius * circle).round(4).tolist())}
        for place, (radius, look) in enumerate(
            [(1.0, boundary), *((ring["radius"], {"opacity": 0.35, "width": 1}) for ring in rings)]
        )
    ]
    return _lines(rows).encode(
        detail="id:N",
        opacity=alt.Opacity("opacity:Q", scale=None),
        strokeWidth=alt.StrokeWidth("width:Q", scale=None),
    )


def _ring_texts(rings: Sequence[Label]) -> Any:
    rows = [{"text": text, "x": x, "y": y} for text, x, y in rings]
    return _placed(rows).mark_text(color=GREY, size=RING_SIZE).encode(text="text:N")


def _path(points: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    return {"x": [x for x, _ in points], "y": [y for _, y in points]}


def _lines(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Lines through the points of each row, in their order."""
    lines = _placed(rows).transform_flatten(["x", "y"])
    return lines.mark_line(color=GREY, order=False, interpolate="natural")


def _placed(rows: Sequence[Mapping[str, Any]]) -> Any:
    import altair as alt

    scale = alt.Scale(domain=[-ROOM, ROOM], nice=False, zero=False)
    return alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("x:Q", scale=scale, axis=None), y=alt.Y("y:Q", scale=scale, axis=None)
    )
