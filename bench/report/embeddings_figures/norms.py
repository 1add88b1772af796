"""Norm against frequency: every token, the middle of each bin, the paper's words, and rho."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.embeddings_figures.legend import shared_legend
from bench.report.style import WIDE, head, name_axis, new_figure, style_of, tidy

MANY = 2000  # points, from which an SVG holds them as a picture
COUNTED = {"texts": "counted in the texts", "pretraining": "counted in the pretraining text"}
KEYS = {"texts": "count", "pretraining": "pretraining"}
NORMS = {"input": "norm", "output": "output_norm"}
ROLES = {"states": "last block's output"}
# Which tokens a correlation is of, and how it is drawn.
TOKENS = {
    "all": "all tokens that occur",
    "frequent": "frequent tokens",
    "content": "frequent content words",
}


def norms(report: Mapping[str, Any]) -> Any:
    """Norm over count: a panel for each matrix and each way of counting; None without tokens."""
    tokens = report["tokens"]
    shown = [
        (role, counted)
        for role in NORMS
        for counted in KEYS
        if any(_place(token, role, counted) for token in tokens)
    ]
    if not shown:
        return None
    across = min(2, len(shown))
    down = math.ceil(len(shown) / across)
    figure = new_figure(WIDE, 1.0 + 2.5 * down)
    axes = figure.subplots(down, across, squeeze=False).flat
    for axis, (role, counted) in zip(axes, shown, strict=True):
        _scatter(axis, report, role, counted)
    shared_legend(figure, figure.axes)
    head(figure, f"Norm against frequency: {report['model']['name']}")
    return figure


def _place(token: Mapping[str, Any], role: str, counted: str) -> tuple[float, float] | None:
    """Count and norm of a token, where it has both."""
    count, norm = token.get(KEYS[counted]), token.get(NORMS[role])
    return (count, norm) if count and norm is not None else None


def _scatter(axis: Any, report: Mapping[str, Any], role: str, counted: str) -> None:
    tokens = report["tokens"]
    places = [place for token in tokens if (place := _place(token, role, counted))]
    axis.set_xscale("log")
    axis.plot(
        *zip(*places, strict=True),
        "o",
        color="0.6",
        markersize=2,
        mew=0,
        alpha=0.5,
        rasterized=len(places) > MANY,
        label="a token",
    )
    bins = [one for one in report["norms"]["bins"] if _is(one, role, counted)]
    if bins:
        low, middle, high = zip(*(one["quartiles"] for one in bins), strict=True)
        axis.errorbar(
            [one["count"] for one in bins],
            middle,
            yerr=[
                [m - q for m, q in zip(middle, low, strict=True)],
                [q - m for m, q in zip(middle, high, strict=True)],
            ],
            fmt="k_-",
            markersize=5,
            linewidth=1,
            elinewidth=0.7,
            label="median and quartiles of a bin",
        )
    by_text = {token["text"]: token for token in tokens}
    for number, group in enumerate(report["norms"]["groups"]):
        members = [by_text[word["text"]] for word in group["words"] if word["text"] in by_text]
        words = [place for token in members if (place := _place(token, role, counted))]
        colour, marker = style_of(number)
        if words:
            axis.plot(
                *zip(*words, strict=True),
                marker,
                color=colour,
                markersize=5,
                mec="white",
                mew=0.4,
                label=f"{group['group']}: {_named(group)}",
            )
    of_all = [
        one
        for one in report["norms"]["correlations"]
        if _is(one, role, counted) and one["tokens_of"] == "all"
    ]
    tidy(axis, _rho(of_all))
    tied = ", and output" if report["model"]["tied"] else ""
    name_axis(axis, f"occurrences of a token, {COUNTED[counted]}", f"norm: {role}{tied} embedding")


def _is(row: Mapping[str, Any], role: str, counted: str) -> bool:
    return row["role"] == role and row["counted"] == counted and not row["centred"]


def _named(group: Mapping[str, Any]) -> str:
    names = [word["word"] for word in group["words"]]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _rho(found: Sequence[Mapping[str, Any]]) -> str:
    if not found or found[0]["rho"] is None:
        return "too few tokens for a correlation"
    one = found[0]
    interval = f"[{one['low']:+.2f}, {one['high']:+.2f}]"
    return f"Spearman's ρ = {one['rho']:+.2f} {interval}, {one['n']:,} tokens"


def correlations(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Spearman's rho with its interval, by matrix, mean embedding, tokens and way of counting."""
    rows = [row for row in rows if row["rho"] is not None]
    if not rows:
        return None
    lines = list(dict.fromkeys((row["role"], row["centred"]) for row in rows))
    ways = [way for way in COUNTED if any(row["counted"] == way for row in rows)]
    figure = new_figure(WIDE, 1.1 + 0.5 * len(lines))
    axes = figure.subplots(1, len(ways), sharex=True, sharey=True, squeeze=False)[0]
    kinds = [kind for kind in TOKENS if any(row["tokens_of"] == kind for row in rows)]
    for axis, way in zip(axes, ways, strict=True):
        for row in (row for row in rows if row["counted"] == way):
            number = kinds.index(row["tokens_of"])
            colour, marker = style_of(number)
            shift = 0.5 * ((number + 0.5) / len(kinds) - 0.5)
            place = lines.index((row["role"], row["centred"])) + shift
            axis.plot([row["low"], row["high"]], [place] * 2, color=colour, linewidth=1.2)
            axis.plot(
                row["rho"], place, marker, color=colour, markersize=4, label=TOKENS[kinds[number]]
            )
        axis.axvline(0, color="black", linewidth=0.8)
        tidy(axis, COUNTED[way])
        name_axis(axis, "Spearman's ρ")
    names = [
        f"{ROLES.get(role, role)}{', less the mean' if centred else ''}" for role, centred in lines
    ]
    axes[0].set_yticks(range(len(lines)), names)
    axes[0].set_ylim(len(lines) - 0.5, -0.5)
    shared_legend(figure, axes)
    head(figure, "Rank correlation of a token's count and its norm, with 95% bootstrap intervals")
    return figure
