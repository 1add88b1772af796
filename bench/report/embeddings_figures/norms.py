"""Norm against frequency: tokens, bins, the paper's groups of words, and rank correlations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from bench.report.figure import Figure, data, facet, line_at, log_axis, look, names, panel, whiskers
from bench.report.theme import GREY, look_of

MOST_TOKENS = 2000  # drawn in a panel
COUNTED = {"texts": "texts", "pretraining": "pretraining text"}
COUNTS = {"texts": "count", "pretraining": "pretraining"}
NORMS = {"input": "norm", "output": "output_norm"}
TOKENS = {
    "all": "all tokens that occur",
    "frequent": "frequent tokens",
    "content": "frequent content words",
}


def norms(study: Mapping[str, Any]) -> Figure | None:
    """Norm over count, a panel for each matrix and way of counting; None without tokens."""
    groups = {_named(group): look_of(i) for i, group in enumerate(study["norms"]["groups"])}
    looks = look("kind", {"token": (GREY, "circle")} | groups)
    token = alt.datum.kind == "token"
    panels, rows = [], []
    for role, counted in ((role, counted) for role in NORMS for counted in COUNTED):
        facts = list(_facts(study, role, counted))
        if not facts:
            continue
        place = f"{role}, {counted}"
        rows += [{"panel": place, **fact} for fact in facts]
        log = log_axis(fact["count"] for fact in facts)
        tied = " and output" if study["model"]["tied"] else ""
        title = f"norm of the {role}{tied} embedding"
        scale = alt.Scale(zero=False, nice=False, padding=6)
        base = alt.Chart().transform_filter(alt.datum.panel == place)
        base = base.encode(
            x=alt.X("count:Q", title=f"occurrences in the {COUNTED[counted]}", **log),
            y=alt.Y("norm:Q", title=title, scale=scale),
        )
        points = base.mark_point().encode(
            **looks,
            size=alt.condition(token, alt.value(5), alt.value(40)),
            opacity=alt.condition(token, alt.value(0.5), alt.value(1)),
        )
        quartiles = base.mark_rule().encode(y="q1:Q", y2="q3:Q")
        medians = base.mark_line(strokeWidth=1.2, point={"size": 15}).encode(y="median:Q")
        heading = _correlation(study["norms"]["correlations"], role, counted)
        panels.append(panel((points, quartiles, medians), heading, 190))
    if not panels:
        return None
    caption = "Grey points: tokens; black: medians and quartiles of bins; colours: groups of words."
    if len(study["tokens"]) > MOST_TOKENS:
        caption += f" At most {MOST_TOKENS:,} of {len(study['tokens']):,} tokens are drawn."
    chart = alt.concat(*panels, data=data(rows), columns=2)
    title = f"{study['model']['name']}: norm of the embedding against frequency"
    return Figure("norms", title, caption, chart, 260 * -(-len(panels) // 2))


def _facts(study: Mapping[str, Any], role: str, counted: str) -> Iterator[dict[str, Any]]:
    """Tokens, bins and words of groups as far as they have both a count and a norm."""
    places = {
        token["text"]: {"text": token["text"].strip(), "count": count, "norm": norm}
        for token in study["tokens"]
        if (count := token.get(COUNTS[counted])) and (norm := token.get(NORMS[role])) is not None
    }
    if not places:
        return
    shown = sorted(places.values(), key=lambda place: place["count"])
    for place in shown[:: -(-len(shown) // MOST_TOKENS)]:
        yield {"kind": "token", **place}
    for found in _plain(study["norms"]["bins"], role, counted):
        q1, median, q3 = found["quartiles"]
        yield {"count": found["count"], "q1": q1, "median": median, "q3": q3}
    for group in study["norms"]["groups"]:
        for word in group["words"]:
            if word["text"] in places:
                yield {"kind": _named(group), **places[word["text"]]}


def _plain(
    rows: Sequence[Mapping[str, Any]], role: str, counted: str
) -> Iterator[Mapping[str, Any]]:
    """The rows of a matrix as it is, not centred."""
    wanted = (role, counted, False)
    return (row for row in rows if (row["role"], row["counted"], row["centred"]) == wanted)


def _named(group: Mapping[str, Any]) -> str:
    words = [word["word"] for word in group["words"]]
    return f"{group['group']}: {', '.join(words[:3])}" + (", ..." if len(words) > 3 else "")


def _correlation(rows: Sequence[Mapping[str, Any]], role: str, counted: str) -> str:
    for row in _plain(rows, role, counted):
        if row["tokens_of"] == "all" and row["rho"] is not None:
            interval = f"[{row['low']:+.2f}, {row['high']:+.2f}]"
            return f"Spearman's ρ = {row['rho']:+.2f} {interval}, {row['n']:,} tokens"
    return "too few tokens for a correlation"


def correlations(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Spearman's rho by matrix, centring, tokens and way of counting; None without any."""
    facts = [
        {
            "vectors": ("last block's output" if row["role"] == "states" else row["role"])
            + (" less the mean" if row["centred"] else ""),
            "counted": f"counted in the {COUNTED[row['counted']]}",
            "tokens": TOKENS[row["tokens_of"]],
            **{key: row[key] for key in ("rho", "low", "high", "n")},
        }
        for row in rows
        if row["rho"] is not None
    ]
    if not facts:
        return None
    order, ways, drawn = (
        list(dict.fromkeys(fact[key] for fact in facts)) for key in ("vectors", "counted", "tokens")
    )
    kinds = [kind for kind in TOKENS.values() if kind in drawn]
    looks = look("tokens", {kind: look_of(place) for place, kind in enumerate(kinds)})
    offset = alt.YOffset("tokens:N", sort=kinds)
    x = alt.X("low:Q", title="Spearman's ρ")
    marks = whiskers("rho", x, looks, y=names("vectors", order), yOffset=offset)
    chart = facet((line_at(0), *marks), data(facts), "counted", ways, 2, 30 * len(order))
    title = "Rank correlation of a token's count and its norm"
    return Figure("correlations", title, "Line: 95% bootstrap interval.", chart, 200)
