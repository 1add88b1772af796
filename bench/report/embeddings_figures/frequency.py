"""How often tokens occur: each set's distribution with the power law fitted to its tail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.figure import Figure, data, facet, log_axis
from bench.report.theme import BLUE, RED


def frequency(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The share of types that occur at least k times, for each set; None without a set."""
    import altair as alt

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
    from scipy.special import zeta

    counts, types = np.array(sorted(row["counts"]), dtype=float).T
    share = types[::-1].cumsum()[::-1] / types.sum()
    named = {"set": _heading(row)}
    for k, value in zip(counts.tolist(), share.tolist(), strict=True):
        yield named | {"k": k, "share": value}
    gamma, xmin = row["gamma"], row["xmin"]
    if gamma is None or xmin is None:
        return
    yield named | {"xmin": xmin}
    # P(K >= k | K >= xmin) of the discrete power law, scaled to the share of the tail.
    tail = np.unique(np.geomspace(xmin, counts.max(), 60).round())
    fitted = share[counts >= xmin][0] * zeta(gamma, tail) / zeta(gamma, xmin)
    for k, value in zip(tail.tolist(), fitted.tolist(), strict=True):
        yield named | {"k": k, "fitted": value}


def _heading(row: Mapping[str, Any]) -> str:
    """The set and what was fitted, in two lines."""
    if row["gamma"] is None or row["xmin"] is None:
        return f"{row['label']}\nno fit"
    text = f"{row['label']}\nγ = {row['gamma']:.2f}"
    if row.get("low") is not None and row.get("high") is not None:
        text += f" [{row['low']:.2f}, {row['high']:.2f}]"
    return f"{text}, xmin = {row['xmin']:.0f}"
