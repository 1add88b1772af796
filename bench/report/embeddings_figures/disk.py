"""Words in the Poincare disk, as a picture."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.embeddings_figures.labels import label_scales
from bench.report.style import WIDE, new_figure, style_of

KINDS = {"content": "content words", "other": "function words, single letters", "word": "words"}
COLOURS = {"content": style_of(0)[0], "other": style_of(4)[0], "word": style_of(0)[0]}
SMALLEST, LARGEST = 5.0, 8.5  # points, of the rarest word and of the most frequent one
RING_SIZE = 6.0
LETTERS = 125  # in a line of notes
ROOM = 1.03  # half the width of the axes, in radii of the disk

Label = tuple[str, float, float]  # a text and its middle


def disk(report: Mapping[str, Any]) -> Any:
    """Words where their norms and their relatives put them; None where none was placed."""
    placed = report["disk"]
    if not placed.get("words"):
        return None
    words = by_count(placed["words"])
    notes = [line for note in notes_of(placed) for line in textwrap.wrap(note, LETTERS)]
    figure = new_figure(WIDE, WIDE + 0.3 + 0.12 * len(notes))
    axis = figure.subplots()
    axis.set_aspect("equal")
    axis.set_xlim(-ROOM, ROOM)
    axis.set_ylim(-ROOM, ROOM)
    axis.axis("off")
    rings = ring_labels(words, placed["rings"])
    _frame(axis, placed["rings"], rings)
    _edges(axis, words)
    _words(axis, words, kinds_of(words, report["tokens"]), rings)
    axis.legend(loc="upper right", fontsize=7, frameon=False, handletextpad=0.1)
    axis.set_title(f"{report['model']['name']}: {title_of(placed)}", fontsize=9)
    figure.supxlabel("\n".join(notes), x=0.03, ha="left", fontsize=7)
    return figure


def _frame(axis: Any, rings: Sequence[Mapping[str, float]], labels: Sequence[Label]) -> None:
    """The boundary, and rings of one norm."""
    from matplotlib.patches import Circle

    axis.add_patch(Circle((0, 0), 1, fill=False, color="black", linewidth=0.8))
    for ring in rings:
        radius = ring["radius"]
        axis.add_patch(Circle((0, 0), radius, fill=False, color="0.8", linewidth=0.5, zorder=0))
    for text, x, y in labels:
        axis.text(
            x, y, text, fontsize=RING_SIZE, color="0.4", ha="center", va="center", zorder=4,
            bbox={"color": "white", "pad": 0.5},
        )  # fmt: skip


def _edges(axis: Any, words: Sequence[Mapping[str, Any]]) -> None:
    for word, strength in zip(words, strengths(words), strict=True):
        if word["edge"]:
            path = zip(*word["edge"], strict=True)
            axis.plot(*path, color="black", alpha=0.08 + 0.3 * strength, linewidth=0.4, zorder=1)


def _words(
    axis: Any, words: Sequence[Mapping[str, Any]], kinds: Sequence[str], rings: Sequence[Label]
) -> None:
    """A text where there is room for one, a dot where there is none."""
    own = scaled([word["count"] for word in words], SMALLEST, LARGEST)
    labels = [*rings, *((word["text"], word["x"], word["y"]) for word in words)]
    scales = label_scales(
        np.array([(x, y) for _, x, y in labels]),
        [text for text, _, _ in labels],
        [RING_SIZE] * len(rings) + own,
    )
    unit = (WIDE - 0.1) * 72 / (2 * ROOM)  # points
    for word, kind, size, scale in zip(words, kinds, own, scales[len(rings) :], strict=True):
        place, colour = (word["x"], word["y"]), COLOURS[kind]
        if scale <= unit:
            axis.text(
                *place, word["text"], color=colour, fontsize=size, ha="center", va="center",
                zorder=3, parse_math=False,
            )  # fmt: skip
        else:
            axis.plot(*place, "o", color=colour, markersize=1.8, mew=0, zorder=2)
    for kind in sorted(set(kinds)):
        axis.plot([], [], "o", color=COLOURS[kind], markersize=4, label=KINDS[kind])


def by_count(words: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Words, the most frequent first, which has the first right to a label.

    Relatives and parents are told by their new places.
    """
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


def kinds_of(words: Sequence[Mapping[str, Any]], tokens: Sequence[Mapping[str, Any]]) -> list[str]:
    """A key of KINDS for each word, as the tokens tell it; `word` for all where they don't."""
    content = {token["text"].strip(): token["content"] for token in tokens if token["word"]}
    if not all(word["text"] in content for word in words):
        return ["word"] * len(words)
    return ["content" if content[word["text"]] else "other" for word in words]


def scaled(counts: Sequence[float], smallest: float, largest: float) -> list[float]:
    """Sizes between two, by the logarithm of the count."""
    logs = [math.log(max(count, 1)) for count in counts]
    low, high = min(logs), max(logs)
    share = [(log - low) / (high - low) if high > low else 0.5 for log in logs]
    return [smallest + (largest - smallest) * each for each in share]


def title_of(placed: Mapping[str, Any]) -> str:
    """What the picture shows, in a line."""
    return f"the {len(placed['words'])} most frequent words in the Poincaré disk"


def notes_of(placed: Mapping[str, Any]) -> list[str]:
    """What is data in the picture, and what is layout."""
    notes = [
        f"Data: the hyperbolic distance from the centre is {placed['scale']:.3g} × (norm − "
        f"{placed['centre']:.3g}), of the norm of the input embedding; rings are labelled with it.",
        "Layout: the angle keeps relatives side by side; where the circle begins means nothing.",
        "Edges: geodesics to the most related word of a smaller norm, stronger the more related "
        "it is. Any vectors have such a tree.",
    ]
    if placed.get("kept") is not None:
        notes[1] += (
            f" Of a word's nearest relatives {placed['kept']:.0%} are among its 10 nearest here "
            f"({placed['kept_by_chance']:.1%} by chance)."
        )
    return notes


def strengths(words: Sequence[Mapping[str, Any]]) -> list[float]:
    """How related each word is to its parent: 0 for the loosest of the edges, 1 for the closest."""
    cosines = [word["cosine"] for word in words if word["cosine"] is not None]
    if not cosines:
        return [0.0] * len(words)
    low, high = min(cosines), max(cosines)
    span = high - low or 1.0
    return [0.0 if word["cosine"] is None else (word["cosine"] - low) / span for word in words]


def ring_labels(
    words: Sequence[Mapping[str, Any]], rings: Sequence[Mapping[str, float]]
) -> list[Label]:
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
