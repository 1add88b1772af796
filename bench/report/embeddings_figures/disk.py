"""Words in the Poincare disk: a figure, and a page to zoom and search in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from bench.report.embeddings_figures.labels import label_scales
from bench.report.figure import PANEL, Figure
from bench.report.page.shell import FIGURES, render
from bench.report.theme import BLUE, GREY, ORANGE, RED, WIDTH, config

KINDS = {
    True: ("content words", BLUE),
    False: ("function words, single letters", RED),
    None: ("words", BLUE),
}
# Pixels: text of the rarest and of the most frequent word, and of the labels of rings.
PRINT, PAGE = (6.5, 11.5, 8.0), (10.0, 15.0, 10.0)
AREAS = (12.0, 80.0)  # of dots, in square pixels
TARGET = 200  # area that reacts to the pointer
ROOM = 1.04  # half the width of the figure, in radii of the disk
CIRCLE = 121  # points
NEVER = 1e9  # JSON has no infinity: the scale of a label that is never drawn
TOOLTIP = {
    "text": "word",
    "count": "occurrences",
    "norm": "norm",
    "relatives": "relatives (cosine)",
    "parent": "edge to",
}
LEAD = (
    "Point at a word or tap it for its count, its norm and its nearest relatives. Drag to "
    "move; scroll or press + to zoom: more words are labelled the closer you look."
)

# Expressions of Vega for a row `datum`: the word under the pointer, its relatives, words searched.
HELD = "(isValid(held.id) && indexof(held.id, datum.id) >= 0)"
AKIN = "(isValid(held.id) && indexof(datum.of, held.id[0]) >= 0)"
SEARCHING = "(search != '')"
SOUGHT = f"({SEARCHING} && indexof(lower(datum.text), lower(search)) >= 0)"
FOUND = f"({SEARCHING} && lower(datum.text) == lower(search))"
# Pixels for a radius of the disk, from which on a label has room.
ROOMY = "(datum.scale <= width / (domain('x')[1] - domain('x')[0]))"

Rows = Sequence[Mapping[str, Any]]


def disk(study: Mapping[str, Any]) -> Figure | None:
    """The figure; None if the study placed no words."""
    placed = study["disk"]
    if not placed.get("words"):
        return None
    rows, rings = _rows(study, PRINT)
    named = [row for row in rows if row["scale"] <= WIDTH / (2 * ROOM)]
    dots = [row | {"area": 8} for row in rows if row not in named]
    colour = _colour(rows)
    layers = (
        _circles(placed["rings"]),
        _edges(placed["words"], 0.08).encode(strokeWidth=alt.value(0.5)),
        rings,
        _placed(dots).mark_circle(opacity=1).encode(color=colour, size=_as_is("area")),
        _placed(named).mark_text().encode(text="text:N", color=colour, size=_as_is("size")),
    )
    chart = alt.layer(*layers).properties(width=PANEL, height=WIDTH)
    return Figure("disk", _title(study), " ".join(_notes(placed)), chart, WIDTH)


def disk_page(study: Mapping[str, Any]) -> str | None:
    """The page as one file that makes no request; None if the study placed no words."""
    if not study["disk"].get("words"):
        return None
    rows, rings = _rows(study, PAGE)
    chart = _interactive(rows, rings, study["disk"])
    words = [
        {key: row[key] for key in ("text", "x", "y")}
        | {
            "facts": f"{row['count']:,} occurrences, norm {row['norm']:.4g}. Relatives (cosine): "
            f"{row['relatives'] or 'none'}. Edge to {row['parent']}."
        }
        for row in rows
    ]
    spec, notes = chart.to_dict() | {"config": config(page=True)}, _notes(study["disk"])
    scripts = (*FIGURES, "disk.js")
    return render(
        "disk.html", _title(study), scripts, lead=LEAD, words=words, spec=spec, notes=notes
    )


def _title(study: Mapping[str, Any]) -> str:
    count = len(study["disk"]["words"])
    return f"{study['model']['name']}: the {count} most frequent words in the Poincaré disk"


def _notes(placed: Mapping[str, Any]) -> list[str]:
    """What in the figure is data, and what is layout."""
    kept = ""
    if placed["kept"] is not None:
        kept = (
            f" {placed['kept']:.0%} of a word's nearest relatives are among its 10 nearest words "
            f"here ({placed['kept_by_chance']:.1%} by chance)."
        )
    return [
        f"Data: the hyperbolic distance from the centre is {placed['scale']:.3g} × (norm − "
        f"{placed['centre']:.3g}), with the norm of the input embedding; rings are labelled with "
        "the norm.",
        "Layout: angles place relatives near each other; the absolute angle has no meaning." + kept,
        "Edges: geodesics to the most similar word with a smaller norm, darker if more similar. "
        "Any set of vectors has such a tree.",
    ]


def _interactive(rows: Rows, rings: Any, placed: Mapping[str, Any]) -> Any:
    """The disk with zoom, search and values on hover."""
    find = alt.BindInput(
        input="search", name="Find ", placeholder="a word", autocomplete="off", element="#find"
    )
    # It stays when the pointer leaves: after a tap it leaves at once.
    held = alt.selection_point(name="held", fields=["id"], on="pointerover", empty=False)
    frame = alt.selection_interval(name="frame", bind="scales")
    highlighted = alt.when(HELD)
    width = highlighted.then(alt.value(3)).when(SEARCHING).then(alt.value(0.1))
    edges = _edges(placed["words"], 0.2).encode(
        color=highlighted.then(alt.value(ORANGE)).otherwise(alt.value(GREY)),
        strokeWidth=width.otherwise(alt.value(0.8)),
    )
    # Words under the pointer, related or found have a rim.
    faded = alt.when(f"{SEARCHING} && !{SOUGHT} && !{HELD}").then(alt.value(0.12))
    rimmed = alt.when(f"{HELD} || {AKIN} || {SOUGHT}").then(alt.value(2.5))
    base = _placed(rows)
    dots = base.mark_circle(stroke=GREY).encode(
        color=_colour(rows),
        size=_as_is("area"),
        opacity=faded.otherwise(alt.value(0.85)),
        strokeWidth=rimmed.otherwise(alt.value(0)),
    )
    # A word is labelled if there is room or a reason.
    wanted = alt.when(f"{HELD} || {FOUND} || ({AKIN} || {SOUGHT}) && {ROOMY}").then(alt.value(1))
    shown = wanted.when(f"!{SEARCHING} && {ROOMY}").then(alt.value(0.9)).otherwise(alt.value(0))
    texts = base.mark_text(baseline="bottom", dy=-4)
    texts = texts.encode(text="text:N", size=_as_is("size"), opacity=shown)
    # What reacts to the pointer is larger than a dot; frequent words are on top.
    tooltip = [alt.Tooltip(f"{field}:N", title=title) for field, title in TOOLTIP.items()]
    targets = _placed(rows[::-1]).mark_circle(size=TARGET, opacity=0).encode(tooltip=tooltip)
    targets = targets.add_params(held, frame)
    chart = alt.layer(_circles(placed["rings"]), edges, rings, dots, texts, targets)
    chart = chart.add_params(alt.param(name="search", value="", bind=find))
    return chart.properties(width="container", height=320, padding=2)


def _rows(
    study: Mapping[str, Any], sizes: tuple[float, float, float]
) -> tuple[list[dict[str, Any]], Any]:
    """What the chart knows of each word (`of`: whose near relative it is), and the rings' labels.

    Frequent words, which come first, get a label first.
    """
    words = study["disk"]["words"]
    content = {t["text"].strip(): t["content"] for t in study["tokens"] if t["word"]}
    known = all(word["text"] in content for word in words)
    counts = np.log([word["count"] for word in words])
    texts, areas = _scaled(counts, *sizes[:2]), _scaled(counts, *AREAS)
    rings = _ring_labels(words, study["disk"]["rings"])
    labels = [*rings, *words]
    scales = label_scales(
        np.array([(label["x"], label["y"]) for label in labels]),
        [label["text"] for label in labels],
        [*([sizes[2]] * len(rings)), *texts],
    )[len(rings) :]
    rows = []
    for place, word in enumerate(words):
        near, parent = word["relatives"], word["parent"]
        pairs = zip(near, word["cosines"], strict=True)
        rows.append(
            {
                "id": place,
                "text": word["text"],
                "count": word["count"],
                "norm": float(f"{word['norm']:.5g}"),
                "x": word["x"],
                "y": word["y"],
                "kind": KINDS[content[word["text"]] if known else None][0],
                "relatives": ", ".join(f"{words[i]['text']} {cosine:.2f}" for i, cosine in pairs),
                "parent": "nothing: it has the smallest norm"
                if parent is None
                else f"{words[parent]['text']} {word['cosine']:.2f}",
                "of": [i for i, other in enumerate(words) if place in other["relatives"]],
                "size": round(texts[place], 1),
                "area": round(areas[place], 1),
                "scale": round(min(scales[place], NEVER), 1),
            }
        )
    return rows, _placed(rings).mark_text(color=GREY, size=sizes[2]).encode(text="text:N")


def _scaled(values: Any, smallest: float, largest: float) -> list[float]:
    """Sizes between two; all are in the middle if the values are equal."""
    low, span = values.min(), np.ptp(values)
    shares = (values - low) / span if span else np.full(len(values), 0.5)
    return (smallest + (largest - smallest) * shares).tolist()


def _colour(rows: Rows) -> Any:
    """Each kind of word in its colour, with a legend."""
    drawn = {row["kind"] for row in rows}
    kinds = {name: colour for name, colour in KINDS.values() if name in drawn}
    scale = alt.Scale(domain=list(kinds), range=list(kinds.values()))
    legend = alt.Legend(title=None, symbolType="circle", symbolStrokeWidth=0)
    return alt.Color("kind:N", scale=scale, legend=legend)


def _as_is(field: str) -> Any:
    """The size of a mark, as the data have it."""
    return alt.Size(f"{field}:Q", scale=None)


def _edges(words: Rows, faintest: float) -> Any:
    """Geodesics to the parents, darker if a word is more similar to its parent."""
    cosines = [word["cosine"] for word in words if word["edge"]]
    low = min(cosines, default=0.0)
    span = max(cosines, default=0.0) - low or 1.0
    rows = [
        {"id": place, "opacity": round(faintest + 0.4 * ((word["cosine"] - low) / span), 2)}
        | _path(word["edge"])
        for place, word in enumerate(words)
        if word["edge"]
    ]
    return _lines(rows)


def _circles(rings: Sequence[Mapping[str, float]]) -> Any:
    """The boundary, and rings of one norm."""
    turns = np.linspace(0, 2 * math.pi, CIRCLE)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    looks = [(1.0, 0.9, 1.5), *((ring["radius"], 0.35, 1.0) for ring in rings)]
    rows = [
        {"id": place, "opacity": opacity, "width": width}
        | _path((radius * circle).round(4).tolist())
        for place, (radius, opacity, width) in enumerate(looks)
    ]
    return _lines(rows).encode(strokeWidth=alt.StrokeWidth("width:Q", scale=None))


def _path(points: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    return {"x": [x for x, _ in points], "y": [y for _, y in points]}


def _lines(rows: Rows) -> Any:
    """Lines through the points of each row, in their order."""
    lines = _placed(rows).transform_flatten(["x", "y"])
    lines = lines.mark_line(color=GREY, order=False, interpolate="natural")
    return lines.encode(detail="id:N", opacity=alt.Opacity("opacity:Q", scale=None))


def _placed(rows: Rows) -> Any:
    scale = alt.Scale(domain=[-ROOM, ROOM], nice=False, zero=False)
    return alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("x:Q", scale=scale, axis=None), y=alt.Y("y:Q", scale=scale, axis=None)
    )


def _ring_labels(words: Rows, rings: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The norms of the rings, in the direction in which they are farthest from any word."""
    if not rings:
        return []
    radii = np.array([ring["radius"] for ring in rings])
    angles = np.linspace(0, 2 * math.pi, 72, endpoint=False) - math.pi / 2
    spots = radii[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    away = spots[:, :, None] - np.array([[word["x"], word["y"]] for word in words])
    away[..., 0] /= 3  # texts are wider than they are high
    best = spots[:, np.linalg.norm(away, axis=-1).min(axis=(0, 2)).argmax()].tolist()
    norms = [f"{ring['norm']:g}" for ring in rings]
    return [{"text": t, "x": x, "y": y} for t, (x, y) in zip(norms, best, strict=True)]
