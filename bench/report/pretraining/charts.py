"""The pictures of a report on pretraining with values on hover, for a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.report.chart import ROW, Chart, chart_of, choice, scales, values
from bench.report.figures.differences import MARKS, OPEN_MARK
from bench.report.pretraining.beside import TwinDifference
from bench.report.pretraining.figures import STATES, held_out, looks, states
from bench.report.pretraining.rows import PretrainedRow
from bench.report.statistics.wording import between, probability


def charts(rows: Sequence[PretrainedRow], differences: Sequence[TwinDifference]) -> list[Chart]:
    """What `bits_figure` and `layers_figure` show, less the curvatures, whose grid has them.

    Args:
        rows: of the report.
        differences: of the rows to their twins; without any there is no chart of them.
    """
    shown = [found for found in differences if found.difference is not None]
    return [_training(rows), *([_beside(shown)] if shown else []), _layers(rows)]


def _training(rows: Sequence[PretrainedRow]) -> Chart:
    import altair as alt

    facts, styles, dashes = [], {}, []
    for row, (colour, marker, line) in zip(rows, looks(rows), strict=True):
        styles[row.label] = (colour, marker)
        dashes.append({"-": [1, 0], "--": [5, 3], ":": [1, 2]}[line])
        tokens, curves = held_out(row)
        for at, each in zip(tokens, zip(*curves, strict=True), strict=True):
            facts.append(
                {
                    "model": row.label,
                    "thousand tokens": at,
                    "bits per byte": float(np.mean(each)),
                    "least": min(each),
                    "most": max(each),
                }
            )
    colour, shape = scales(styles)
    pick = alt.selection_point(name="picked", fields=["model"], bind="legend")
    base = alt.Chart(values(facts)).encode(
        x=alt.X("thousand tokens:Q", title="tokens, thousands", axis=alt.Axis(tickCount=8)),
        y=alt.Y(
            "bits per byte:Q",
            title="bits per byte of held-out text",
            scale=alt.Scale(type="log", nice=False),
            axis=alt.Axis(tickCount=6, format="~g"),
        ),
        color=alt.Color("model:N", title=None, scale=colour, sort=None),
        opacity=alt.condition(pick, alt.value(1), alt.value(0.1)),
    )
    dash = alt.Scale(domain=list(styles), range=dashes)
    lines = base.mark_line(strokeWidth=1.5).encode(
        strokeDash=alt.StrokeDash("model:N", title=None, scale=dash, sort=None)
    )
    told = ("model:N", "thousand tokens:Q", "bits per byte:Q", "least:Q", "most:Q")
    points = base.mark_point(filled=True, size=50).encode(
        shape=alt.Shape("model:N", title=None, scale=shape, sort=None), tooltip=list(told)
    )
    seeds = max(len(row.records) for row in rows)
    caption = (
        f"A part of the held-out text; means over {seeds} seed{'s' if seeds > 1 else ''}. A twin's "
        "line is dashed. A click on a name in the legend shows it alone. Logarithmic scale."
    )
    return chart_of("Bits per byte while training", caption, [lines, points], 280, picked=pick)


def _beside(differences: Sequence[TwinDifference]) -> Chart:
    import altair as alt

    facts: list[dict[str, Any]] = [
        {
            "models": f"{found.row.label} less {found.twin.label}",
            "verdict": found.verdict,
            "difference": found.difference,
            "low": found.difference if found.low is None else found.low,
            "high": found.difference if found.high is None else found.high,
            "95% interval": between(found.low, found.high, "+z.4f"),
            "p (Holm)": probability(found.p_holm),
            "seeds": len(found.by_seed or {}),
        }
        for found in differences
    ]
    seeds = [
        {"models": fact["models"], "seed": seed, "of the seed": value, "verdict": fact["verdict"]}
        for found, fact in zip(differences, facts, strict=True)
        for seed, value in (found.by_seed or {}).items()
    ]
    marks = {fact["verdict"]: MARKS.get(fact["verdict"], OPEN_MARK) for fact in facts}
    colour, _ = scales(marks)
    paint = alt.Color("verdict:N", title=None, scale=colour)
    order = [fact["models"] for fact in facts]
    # In two lines: on a phone a long name takes the width of the figure.
    in_two_lines = alt.Axis(
        labelPadding=8, labelExpr="split(replace(datum.label, ' less ', '\\nless '), '\\n')"
    )
    y = alt.Y("models:N", sort=order, title=None, axis=in_two_lines)
    base = alt.Chart(values(facts))
    names = ("models", "verdict", "difference", "95% interval", "p (Holm)", "seeds")
    tell = [alt.Tooltip(f"{name}:N") for name in names]
    zero = alt.Chart(values([{"zero": 0}])).mark_rule(strokeDash=[3, 3]).encode(x="zero:Q")
    title = "difference, bits per byte"
    lines = base.mark_rule(size=2).encode(
        x=alt.X("low:Q", title=title), x2="high:Q", y=y, color=paint, tooltip=tell
    )
    means = base.mark_point(filled=True, size=90, opacity=1, shape="diamond").encode(
        x="difference:Q", y=y, color=paint, tooltip=tell
    )
    told = ("models:N", "seed:O", "of the seed:Q")
    ticks = alt.Chart(values(seeds)).mark_tick(thickness=2, size=14)
    each = ticks.encode(x="of the seed:Q", y=y, color=paint, tooltip=list(told))
    caption = (
        "Left of 0 it needs fewer bits than its twin. A line is the 95% interval of one comparison "
        "alone, a tick a seed; the words go by the test that is corrected over all of them."
    )
    layers = [zero, lines, each, means]
    return chart_of("Each model beside its twin", caption, layers, 2 * ROW * len(order))


def _layers(rows: Sequence[PretrainedRow]) -> Chart:
    import altair as alt

    facts = [
        {
            "model": row.label,
            "weights": STATES[name][2],
            "blocks behind it": place,
            "mean cosine": float(value),
        }
        for row in rows
        for name, runs in states(row).items()
        for place, value in enumerate(np.mean([run["similarity"] for run in runs], axis=0))
    ]
    colour, shape = scales({label: (paint, marker) for paint, marker, label in STATES.values()})
    base = (
        alt.Chart(values(facts))
        .transform_filter("datum.model == wanted")
        .encode(
            x=alt.X("blocks behind it:O", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("mean cosine:Q", scale=alt.Scale(domain=[-0.05, 1.05], nice=False)),
            color=alt.Color("weights:N", title=None, scale=colour, sort=None),
        )
    )
    points = base.mark_point(filled=True, size=60).encode(
        shape=alt.Shape("weights:N", title=None, scale=shape, sort=None),
        tooltip=["model:N", "weights:N", "blocks behind it:O", "mean cosine:Q"],
    )
    wanted = choice("wanted", "Model", [row.label for row in rows])
    caption = "A mean cosine of 1: every token of the held-out text looks the same."
    title = "How alike tokens are, by layer"
    return chart_of(title, caption, [base.mark_line(), points], 240, wanted=wanted)
