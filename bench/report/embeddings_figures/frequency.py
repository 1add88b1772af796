"""How often tokens occur: each set's distribution with the power law fitted to its tail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
from scipy.special import zeta

from bench.report.figure import Figure, data, facet, log_axis
from bench.report.theme import BLUE, RED


def frequency(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The share of types that occur at least k times, for each set; None without a set."""
    facts = [fact for row in rows if row["counts"] for fact in _facts(row)]
    if not facts:
        return None
    ks, shares = ([fact.get(key, 0) for fact in facts] for key in ("k", "share"))
    base = alt.Chart().encode(
        x=alt.X("k:Q", title="occurrences k of a token", **log_axis(ks)),
        y=alt.Y("share:Q", title="share of types with ≥ k", **log_axis(shares)),
    )
    layers = (
        alt.Chart().mark_rule(strokeDash=[2, 2], clip=True).encode(x="xmin:Q"),
        base.mark_circle(size=10, color=BLUE),
        base.mark_line(color=RED, strokeWidth=1.2).encode(y="fitted:Q"),
    )
    sets = list(dict.fromkeys(fact["set"] for fact in facts))
    caption = (
        "Points: counted; line: discrete power law fitted from xmin (dashed) on, with its exponent "
        "γ and 95% interval. Logarithmic scales."
    )
    chart = facet(layers, data(facts), "set", sets, 3, 125)
    return Figure("frequency", "Token frequencies", caption, chart, 180 * -(-len(sets) // 3))


def _facts(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    counts, types = np.array(sorted(row["counts"]), dtype=float).T
    share = types[::-1].cumsum()[::-1] / types.sum()
    gamma, xmin = row["gamma"], row["xmin"]
    heading, fitted = "no fit", gamma is not None and xmin is not None
    if fitted:
        interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if row["low"] is not None else ""
        heading = f"γ = {gamma:.2f}{interval}, xmin = {xmin:.0f}"
    named = {"set": f"{row['label']}\n{heading}"}
    for k, value in zip(counts.tolist(), share.tolist(), strict=True):
        yield named | {"k": k, "share": value}
    if fitted:
        yield named | {"xmin": xmin}
        # P(K >= k | K >= xmin) of the discrete power law, scaled to the share of the tail.
        tail = np.unique(np.geomspace(xmin, counts.max(), 60).round())
        law = share[counts >= xmin][0] * zeta(gamma, tail) / zeta(gamma, xmin)
        for k, value in zip(tail.tolist(), law.tolist(), strict=True):
            yield named | {"k": k, "fitted": value}
