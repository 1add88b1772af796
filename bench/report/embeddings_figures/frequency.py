"""How often tokens occur: each set's distribution with the power law fitted to its tail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.embeddings_figures.legend import shared_legend
from bench.report.style import TEXT, WIDE, head, name_axis, new_figure, style_of, tidy

ACROSS = 3  # panels in a row


def frequency(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The share of types that occur at least k times, for each set; None without a set."""
    rows = [row for row in rows if row["counts"]]
    if not rows:
        return None
    across = min(ACROSS, len(rows))
    down = math.ceil(len(rows) / across)
    figure = new_figure(WIDE, 0.9 + 1.75 * down)
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axis, row in zip(axes.flat, rows, strict=False):
        _panel(axis, row)
    for axis in axes.flat[len(rows) :]:
        axis.remove()
    for axis in axes.flat[max(0, len(rows) - across) : len(rows)]:
        axis.tick_params(labelbottom=True)
        name_axis(axis, x="occurrences k of a token")
    for axis in axes[:, 0]:
        name_axis(axis, y="share of types with ≥ k")
    head(figure, "Token frequencies; γ of the fitted power law with its 95% interval")
    shared_legend(figure, axes.flat[: len(rows)])
    return figure


def _panel(axis: Any, row: Mapping[str, Any]) -> None:
    from scipy.special import zeta

    counts, types = np.array(sorted(row["counts"]), dtype=float).T
    share = types[::-1].cumsum()[::-1] / types.sum()
    colour, marker = style_of(0)
    axis.loglog(
        counts, share, marker, color=colour, markersize=2.5, mew=0, alpha=0.7, label="counted"
    )
    tidy(axis, row["label"])
    gamma, least = row["gamma"], row["xmin"]
    if gamma is None or least is None:
        axis.set_title(f"{row['label']}: no fit", fontsize=TEXT)
        return
    # P(K >= k | K >= xmin) of the discrete power law, from the share that the tail begins with.
    tail = np.unique(np.geomspace(least, counts.max(), 60).round())
    level = share[counts >= least][0]
    colour, _ = style_of(4)
    label = "discrete power law, fitted from xmin on"
    fitted = level * zeta(gamma, tail) / zeta(gamma, least)
    axis.plot(tail, fitted, color=colour, linewidth=1.2, label=label)
    axis.axvline(least, color="black", linestyle=":", linewidth=0.8, label="xmin")
    lines = f"{row['label']}\nγ = {row['gamma']:.2f}"
    if row.get("low") is not None and row.get("high") is not None:
        lines += f" [{row['low']:.2f}, {row['high']:.2f}]"
    axis.set_title(f"{lines}, xmin = {least:.0f}", fontsize=TEXT)
