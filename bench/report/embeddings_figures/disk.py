"""Words in the Poincare disk: a figure, and a page to zoom and search in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.embeddings_figures.labels import label_scales
from bench.report.figure import PANEL, Figure
from bench.report.page.shell import FIGURES, render
from bench.report.theme import BLUE, GREY, ORANGE, RED, WIDTH, config

KINDS = {
    "content": ("content words", BLUE),
    "other": ("function words, single letters", RED),
    "word": ("words", BLUE),
}
# Pixels: text of the rarest and of the most frequent word, and of the labels of rings.
PRINT, PAGE = (6.5, 11.5, 8.0), (10.0, 15.0, 10.0)
AREAS = (12.0, 80.0)  # of dots, in square pixels
TARGET = 200  # area that reacts to the pointer
ROOM = 1.04  # half the width of the figure, in radii of the disk
CIRCLE = 121  # points
NEVER = 1e9  # JSON has no infinity: the scale of a label that is never drawn

# Expressions of Vega for a row `datum`: the word under the pointer, its relatives, words searched.
HELD = "(isValid(held.id) && indexof(held.id, datum.id) >= 0)"
AKIN = "(isValid(held.id) && indexof(datum.of, held.id[0]) >= 0)"
SEARCHING = "(search != '')"
SOUGHT = f"({SEARCHING} && indexof(lower(datum.text), lower(search)) >= 0)"
FOUND = f"({SEARCHING} && lower(datum.text) == lower(search))"
# Pixels for a radius of the disk, from which on a label has room.
ROOMY = "(datum.scale <= width / (domain('x')[1] - domain('x')[0]))"

Words = Sequence[Mapping[str, Any]]
Label = tuple[str, float, float]  # a text and its centre
Sizes = tuple[float, float, float]


def disk(report: Mapping[str, Any]) -> Figure | None:
    """The figure; None if the study placed no words."""
    placed = report["disk"]
    if not placed.get("words"):
        return None
    import altair as alt

    words, rings, rows = _laid_out(report, PRINT)
    named = [row for row in rows if row["scale"] <= WIDTH / (2 * ROOM)]
    dots = [row | {"area": 8} for row in rows if row not in named]
    colour = _colour(rows)
    layers = (
        _circles(placed["rings"]),
        _edges(words, faintest=0.08).encode(strokeWidth=alt.value(0.5)),
        _ring_texts(rings, PRINT),
        _placed(dots).mark_circle(opacity=1).encode(color=colour, size=_as_is("area")),
        _placed(named).mark_text().encode(text="text:N", color=colour, size=_as_is("size")),
    )
    chart = alt.layer(*layers).properties(width=PANEL, height=WIDTH)
    return Figure("disk", _title(report), " ".join(notes_of(placed)), chart, WIDTH)


def disk_page(report: Mapping[str, Any]) -> str | None:
    """The page as one file that makes no request; None if the study placed no words."""
    placed = report["disk"]
    if not placed.get("words"):
        return None
    words, rings, rows = _laid_out(report, PAGE)
    chart = _interactive(words, rings, rows, placed["rings"])
    lead = (
        "Point at a word or tap it for its count, its norm and its nearest relatives. Drag to "
        "move; scroll or press + to zoom: more words are labelled the closer you look."
    )
    return render(
        "disk.html",
        _title(report),
        (*FIGURES, "disk.js"),
        lead=lead,
        words=[
            {"text": row["text"], "x": row["x"], "y": row["y"], "facts": _facts(row)}
            for row in rows
        ],
        spec=chart.to_dict() | {"config": config(page=True)},
        notes=notes_of(placed),
    )


def _title(report: Mapping[str, Any]) -> str:
    count = len(report["disk"]["words"])
    return f"{report['model']['name']}: the {count} most frequent words in the Poincaré disk"


def notes_of(placed: Mapping[str, Any]) -> list[str]:
    """What in the figure is data, and what is layout."""
    kept = ""
    if placed.get("kept") is not None:
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


def _laid_out(
    report: Mapping[str, Any], sizes: Sizes
) -> tuple[Words, list[Label], list[dict[str, Any]]]:
    """The words by falling count, the labels of the rings, and rows of words for a chart."""
    words = by_count(report["disk"]["words"])
    rings = ring_labels(words, report["disk"]["rings"])
    return words, rings, _rows(words, kinds_of(words, report["tokens"]), rings, sizes)


def _interactive(
    words: Words, rings: Sequence[Label], rows: Words, circles: Sequence[Mapping[str, float]]
) -> Any:
    """The disk with zoom, search and values on hover."""
    import altair as alt

    find = alt.BindInput(
        input="search", name="Find ", placeholder="a word", autocomplete="off", element="#find"
    )
    # It stays when the pointer leaves: after a tap it leaves at once.
    held = alt.selection_point(name="held", fields=["id"], on="pointerover", empty=False)
    frame = alt.selection_interval(name="frame", bind="scales")
    highlighted = alt.when(HELD)
    width = highlighted.then(alt.value(3)).when(SEARCHING).then(alt.value(0.1))
    edges = _edges(words).encode(
        color=highlighted.then(alt.value(ORANGE)).otherwise(alt.value(GREY)),
        strokeWidth=width.otherwise(alt.value(0.8)),
    )
    layers = (
        _circles(circles),
        edges,
        _ring_texts(rings, PAGE),
        _dots(rows),
        _texts(rows),
        _targets(rows).add_params(held, frame),
    )
    chart = alt.layer(*layers).add_params(alt.param(name="search", value="", bind=find))
    return chart.properties(width="container", height=320, padding=2)


def _facts(row: Mapping[str, Any]) -> str:
    facts = f"{row['count']:,} occurrences, norm {row['norm']:.4g}"
    return f"{facts}. Relatives (cosine): {row['relatives'] or 'none'}. Edge to {row['parent']}."


def _rows(
    words: Words, kinds: Sequence[str], rings: Sequence[Label], sizes: Sizes
) -> list[dict[str, Any]]:
    """What the chart knows of each word; `of`: the words that it is a near relative of."""
    counts = [word["count"] for word in words]
    texts, areas = scaled(counts, *sizes[:2]), scaled(counts, *AREAS)
    labels = [*rings, *((word["text"], word["x"], word["y"]) for word in words)]
    scales = label_scales(
        np.array([(x, y) for _, x, y in labels]),
        [text for text, _, _ in labels],
        [sizes[2]] * len(rings) + texts,
    )[len(rings) :]
    return [
        {
            "id": place,
            "text": word["text"],
            "count": word["count"],
            "norm": float(f"{word['norm']:.5g}"),
            "x": word["x"],
            "y": word["y"],
            "kind": KINDS[kind][0],
            "relatives": ", ".join(
                f"{words[relative]['text']} {cosine:.2f}"
                for relative, cosine in zip(word["relatives"], word["cosines"], strict=True)
            ),
            "parent": "nothing: it has the smallest norm"
            if word["parent"] is None
            else f"{words[word['parent']]['text']} {word['cosine']:.2f}",
            "of": [i for i, other in enumerate(words) if place in other["relatives"]],
            "size": round(size, 1),
            "area": round(area, 1),
            "scale": round(scale, 1) if math.isfinite(scale) else NEVER,
        }
        for place, (word, kind, size, area, scale) in enumerate(
            zip(words, kinds, texts, areas, scales, strict=True)
        )
    ]


def _colour(rows: Words) -> Any:
    """Each kind of word in its colour, with a legend."""
    import altair as alt

    kinds = [kind for kind in KINDS.values() if any(row["kind"] == kind[0] for row in rows)]
    scale = alt.Scale(domain=[name for name, _ in kinds], range=[colour for _, colour in kinds])
    legend = alt.Legend(title=None, symbolType="circle", symbolStrokeWidth=0)
    return alt.Color("kind:N", scale=scale, legend=legend)


def _dots(rows: Words) -> Any:
    """The words as dots; those under the pointer, related or found have a rim."""
    import altair as alt

    faded = alt.when(f"{SEARCHING} && !{SOUGHT} && !{HELD}")
    rimmed = alt.when(f"{HELD} || {AKIN} || {SOUGHT}")
    return _placed(rows).mark_circle(stroke=GREY).encode(
        color=_colour(rows),
        size=_as_is("area"),
        opacity=faded.then(alt.value(0.12)).otherwise(alt.value(0.85)),
        strokeWidth=rimmed.then(alt.value(2.5)).otherwise(alt.value(0)),
    )  # fmt: skip


def _targets(rows: Words) -> Any:
    """What reacts to the pointer: larger than a dot; frequent words are on top."""
    import altair as alt

    titles = {"text": "word", "count": "occurrences", "norm": "norm",
              "relatives": "relatives (cosine)", "parent": "edge to"}  # fmt: skip
    tooltip = [alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()]
    return _placed(rows[::-1]).mark_circle(size=TARGET, opacity=0).encode(tooltip=tooltip)


def _texts(rows: Words) -> Any:
    """The words themselves, if there is room or a reason."""
    import altair as alt

    wanted = alt.when(f"{HELD} || {FOUND} || ({AKIN} || {SOUGHT}) && {ROOMY}").then(alt.value(1))
    roomy = wanted.when(f"!{SEARCHING} && {ROOMY}").then(alt.value(0.9))
    return _placed(rows).mark_text(baseline="bottom", dy=-4).encode(
        text="text:N",
        size=_as_is("size"),
        opacity=roomy.otherwise(alt.value(0)),
    )  # fmt: skip


def _edges(words: Words, faintest: float = 0.2) -> Any:
    """Geodesics to the parents."""
    import altair as alt

    rows = [
        {"id": place, "opacity": round(faintest + 0.4 * strength, 2), **_path(word["edge"])}
        for place, (word, strength) in enumerate(zip(words, strengths(words), strict=True))
        if word["edge"]
    ]
    return _lines(rows).encode(detail="id:N", opacity=alt.Opacity("opacity:Q", scale=None))


def _ring_texts(rings: Sequence[Label], sizes: Sizes) -> Any:
    rows = [{"text": text, "x": x, "y": y} for text, x, y in rings]
    return _placed(rows).mark_text(color=GREY, size=sizes[2]).encode(text="text:N")


def _as_is(field: str) -> Any:
    """The size of a mark, as the data have it."""
    import altair as alt

    return alt.Size(f"{field}:Q", scale=None)


def _circles(rings: Sequence[Mapping[str, float]]) -> Any:
    """The boundary, and rings of one norm."""
    import altair as alt

    turns = np.linspace(0, 2 * math.pi, CIRCLE)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    looks = [(1.0, 0.9, 1.5), *((ring["radius"], 0.35, 1.0) for ring in rings)]
    rows = [
        {"id": place, "opacity": opacity, "width": width}
        | _path((radius * circle).round(4).tolist())
        for place, (radius, opacity, width) in enumerate(looks)
    ]
    return _lines(rows).encode(
        detail="id:N",
        opacity=alt.Opacity("opacity:Q", scale=None),
        strokeWidth=alt.StrokeWidth("width:Q", scale=None),
    )


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


def by_count(words: Words) -> list[dict[str, Any]]:
    """Words by falling count, so that frequent ones get a label first; indices follow."""
    order = sorted(range(len(words)), key=lambda i: -words[i]["count"])
    place: dict[int | None, int] = {old: new for new, old in enumerate(order)}
    return [
        {
            **words[i],
            "relatives": [place[relative] for relative in words[i]["relatives"]],
            "parent": place.get(words[i]["parent"]),
        }
        for i in order
    ]


def kinds_of(words: Words, tokens: Sequence[Mapping[str, Any]]) -> list[str]:
    """A key of KINDS for each word, from the tokens; `word` for all if any is not among them."""
    content = {token["text"].strip(): token["content"] for token in tokens if token["word"]}
    if not all(word["text"] in content for word in words):
        return ["word"] * len(words)
    return ["content" if content[word["text"]] else "other" for word in words]


def scaled(counts: Sequence[float], smallest: float, largest: float) -> list[float]:
    """Sizes between two, by the logarithm of the count."""
    logs = [math.log(max(count, 1)) for count in counts]
    low, high = min(logs), max(logs)
    shares = [(log - low) / (high - low) if high > low else 0.5 for log in logs]
    return [smallest + (largest - smallest) * share for share in shares]


def strengths(words: Words) -> list[float]:
    """How similar each word is to its parent: 0 for the least similar pair, 1 for the most."""
    cosines = [word["cosine"] for word in words if word["cosine"] is not None]
    if not cosines:
        return [0.0] * len(words)
    low, high = min(cosines), max(cosines)
    span = high - low or 1.0
    return [0.0 if word["cosine"] is None else (word["cosine"] - low) / span for word in words]


def ring_labels(words: Words, rings: Sequence[Mapping[str, float]]) -> list[Label]:
    """The norms of the rings, in the direction in which they are farthest from any word."""
    radii = np.array([ring["radius"] for ring in rings])
    if not len(radii):
        return []
    angles = np.linspace(0, 2 * math.pi, 72, endpoint=False) - math.pi / 2
    spots = radii[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    away = spots[:, :, None] - np.array([[word["x"], word["y"]] for word in words])
    away[..., 0] /= 3  # texts are wider than they are high
    best = spots[:, np.linalg.norm(away, axis=-1).min(axis=(0, 2)).argmax()]
    return [(f"{ring['norm']:g}", x, y) for ring, (x, y) in zip(rings, best.tolist(), strict=True)]
