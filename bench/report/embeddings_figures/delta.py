"""Relative delta-hyperbolicity, with controls and reference spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import altair as alt
import numpy as np

from bench.report.embeddings.delta import METRICS
from bench.report.figure import Figure, data, facet, look, names, whiskers
from bench.report.theme import BLUE, GREEN, GREY, PALETTE, RED, Look, look_of

Rows = Sequence[Mapping[str, Any]]

BASE_POINTS = {"first": "base point: first token", "all": "base point: worst"}
GAUSSIAN = "control: Gaussian vectors, same norms"
KINDS: dict[str, tuple[str, Look]] = {
    "embeddings": ("the tokens' embeddings", (RED, "circle")),
    "gaussian": (GAUSSIAN, (BLUE, "diamond")),
    "shuffled": ("control: other tokens' embeddings", (GREEN, "square")),
}
CONTROLS: dict[str, tuple[str, Look]] = {
    "gaussian": (GAUSSIAN, (GREY, "triangle-up")),
    "shuffled": ("control: states of other prompts", (GREY, "cross")),
}
DASHES = ([4, 2], [1, 2], [6, 2, 1, 2], [2, 2], [8, 3], [3, 1, 1, 1, 1, 1])
MARKS = "Point: median of prompts; thick line: middle half; thin line: middle 95%."
QUANTILES = {"low": 0.025, "q25": 0.25, "median": 0.5, "q75": 0.75, "high": 0.975}


def delta(rows: Rows, spaces: Rows) -> Figure | None:
    """The prompts of each set, their controls and reference spaces; None without prompts."""
    order = list(dict.fromkeys(row["label"] for row in rows))
    if not order:
        return None
    facts = [
        {"panel": _panel(row), "row": row["label"], "what": label, **_quantiles(row[key])}
        for row in rows
        for key, (label, _) in KINDS.items()
    ]
    exact = {space["space"]: sum(space["exact"]) / len(space["exact"]) for space in spaces}
    lines = {f"{name}: {mean:.2f}": mean for name, mean in exact.items()}
    kinds = dict(KINDS.values())
    styles = {name: (PALETTE[i % len(PALETTE)], "stroke") for i, name in enumerate(lines)}
    looks = look("what", kinds | styles)
    dashes = [[1, 0]] * len(kinds) + [DASHES[i % len(DASHES)] for i in range(len(lines))]
    scale = alt.Scale(domain=[*kinds, *lines], range=dashes)
    dash = alt.StrokeDash("what:N", title=None, scale=scale, legend=looks["color"]["legend"])
    drawn = alt.Data(values=[{"what": name, "delta": mean} for name, mean in lines.items()])
    rules = alt.Chart(drawn).mark_rule(clip=True)
    rules = rules.encode(x="delta:Q", color=looks["color"], strokeDash=dash)
    layers = (rules, *_spreads(looks, names("row", order), "what", list(kinds)))
    chart = _panels(layers, facts, 38 * len(order))
    caption = MARKS + (" Vertical lines: reference spaces, exact." if lines else "")
    title = "Relative δ-hyperbolicity of prompts"
    return Figure("delta", title, caption, chart, 160 + 60 * len(order))


def hidden(rows: Rows) -> Figure | None:
    """The last hidden layer of the base and after each method; None if none was measured."""
    models, sets = (list(dict.fromkeys(row[key] for row in rows)) for key in ("model", "label"))
    if not models:
        return None
    together: dict[tuple[str, ...], Rows] = {}
    for row in rows:
        key = (_panel(row), row["model"], row["label"])
        together[key] = [*together.get(key, ()), row]
    facts: list[dict[str, Any]] = []
    for (panel, model, label), runs in together.items():
        named: dict[str, Any] = {"panel": panel, "row": model, "set": label}
        values = {k: [v for run in runs for v in run[k]] for k in ("states", *CONTROLS)}
        facts.append(named | {"what": label} | _quantiles(values["states"]))
        for kind, (control, _) in CONTROLS.items():
            facts.append(named | {"what": control, "mean": fmean(values[kind])})
    looks = {label: look_of(place) for place, label in enumerate(sets)} | dict(CONTROLS.values())
    spreads = _spreads(look("what", looks), names("row", models), "set", sets)
    controls = spreads[-1].mark_point(size=9, opacity=0.8).encode(x="mean:Q")
    chart = _panels((controls, *spreads), facts, 26 * len(models))
    title = "Relative δ-hyperbolicity of the last hidden layer"
    return Figure("hidden", title, MARKS, chart, 130 + 28 * len(models))


def _panels(layers: Sequence[Any], facts: Rows, height: float) -> Any:
    """A panel for each distance (down) and base point (across) that was measured."""
    measured = {fact["panel"] for fact in facts}
    order = [f"{m}, {b}" for m in METRICS.values() for b in BASE_POINTS.values()]
    return facet(layers, data(facts), "panel", [o for o in order if o in measured], 2, height)


def _panel(row: Mapping[str, Any]) -> str:
    return f"{METRICS[row['metric']]}, {BASE_POINTS[row['base_point']]}"


def _spreads(looks: Mapping[str, Any], y: Any, by: str, order: Sequence[str]) -> tuple[Any, ...]:
    """Middle 95%, middle half and median, the values of a field below each other."""
    scale = alt.Scale(zero=True, nice=False, padding=8)
    x = alt.X("low:Q", title="2 δ / diameter", scale=scale, axis=alt.Axis(tickCount=5))
    offset = alt.YOffset(f"{by}:N", sort=list(order))
    line, point = whiskers("median", x, looks, 20, y=y, yOffset=offset)
    half = line.mark_rule(strokeWidth=2.2).encode(x="q25:Q", x2="q75:Q")
    return line.mark_rule(strokeWidth=0.7), half, point


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    return dict(zip(QUANTILES, np.quantile(values, [*QUANTILES.values()]).tolist(), strict=True))
