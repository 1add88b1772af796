"""The two figures of a report on pretraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench.report import theme
from bench.report.comparison import Comparison
from bench.report.figure import Figure, data, line_at, log_axis, look, names, panel, whiskers
from bench.report.selection import Group
from bench.report.theme import BLUE, GREEN, GREY, ORANGE, PALETTE, RED, VERDICTS, Look, look_of

# A model and its Euclidean twin share a colour; the line of the twin is dashed.
MODELS: dict[str, tuple[Look, list[int]]] = {
    "helm_d": ((RED, "diamond"), [1, 0]),
    "llama_twin": ((RED, "circle"), [5, 3]),
    "helm_mice": ((BLUE, "square"), [1, 0]),
    "deepseek_twin": ((BLUE, "triangle-up"), [5, 3]),
}
STATES: dict[str, tuple[str, Look]] = {  # of weights
    "public": ("public, at start", (ORANGE, "triangle-down")),
    "balanced": ("balanced, at start", (GREEN, "circle")),
    "trained": ("after training", (BLUE, "square")),
    "own": ("twin, at start", (GREY, "diamond")),
}
COSINE, ENTROPY, CURVATURE = "mean cosine", "entropy of the load", "change of K (%)"
HEADINGS = {
    COSINE: "similarity of tokens",
    ENTROPY: "balance of experts",
    CURVATURE: "experts' K",
}


def bits_figure(rows: Sequence[Group], comparisons: Sequence[Comparison]) -> Figure:
    """Bits per byte while training, and the differences of models to their twins.

    Args:
        rows: the runs of each model with one choice of settings.
        comparisons: of models with their twins, in bits per byte; may be empty.
    """
    import altair as alt

    shown = [found for found in comparisons if found.difference is not None]
    facts = [fact for row in rows for fact in _curves(row)]
    panels = [_training(rows, facts)]
    caption = (
        "Left: on a part of the held-out text; thin lines: seeds; thick line: mean; dashed: twins. "
        "Logarithmic scale."
    )
    if shown:
        panels.append(_differences(shown))
        facts += [fact for found in shown for fact in _comparison_facts(found)]
        caption += (
            " Right: on the whole held-out text; diamond: mean; points: seeds; line: 95% interval "
            "of one comparison alone; the verdict is by the test that is corrected over all "
            "comparisons. Left of 0: fewer bits than the twin."
        )
    chart = alt.concat(*panels, data=data(facts), columns=2, align="each")
    own: dict[str, Any] = dict.fromkeys(("color", "shape", "strokeDash"), "independent")
    return Figure("bits", "Pretraining: bits per byte", caption, chart.resolve_scale(**own))


def _training(rows: Sequence[Group], facts: Sequence[dict[str, Any]]) -> Any:
    import altair as alt

    looks, dashes, seen = {}, [], set()
    for place, row in enumerate(rows):
        model = row.records[0]["model"]
        own = (look_of(place), [1, 2])  # a second row of a model must look different
        looks[row.label], dash = own if model in seen else MODELS.get(model, own)
        dashes.append(dash)
        seen.add(model)
    encoded = look("model", looks, width=theme.WIDTH // 2 - 60)
    dashed = alt.StrokeDash("model:N", title=None, scale=alt.Scale(domain=[*looks], range=dashes))
    log = log_axis(fact.get("of seed", 0) for fact in facts)
    base = alt.Chart().encode(
        x=alt.X("tokens:Q", title="tokens (thousands)"),
        y=alt.Y("bits:Q", title="bits per byte", **log),
        color=encoded["color"],
        strokeDash=dashed,
    )
    seeds = base.mark_line(strokeWidth=0.5, opacity=0.7).encode(y="of seed:Q", detail="seed:N")
    points = base.mark_point().encode(shape=encoded["shape"], strokeDash=alt.value([1, 0]))
    return panel((seeds, base.mark_line(strokeWidth=1.4), points), "held-out text", 190)


def _curves(row: Group) -> Iterator[dict[str, Any]]:
    """Thousands of tokens and bits per byte: the mean over seeds, and each seed."""
    step = row.records[0]["train"]["step_tokens"] / 1000
    runs = [record["training"]["held_out"] for record in row.records]
    for measured in zip(*runs, strict=True):
        values = [value for _, value in measured]
        named = {"model": row.label, "tokens": measured[0][0] * step}
        means = {"bits": float(np.mean(values)), "lowest": min(values), "highest": max(values)}
        yield named | means
        for record, value in zip(row.records, values, strict=True):
            yield named | {"seed": record["seed"], "of seed": value}


def _differences(shown: Sequence[Comparison]) -> Any:
    import altair as alt

    verdicts = {found.verdict: (VERDICTS[found.verdict][0], "diamond") for found in shown}
    looks = look("verdict", verdicts, legend=False)
    y = names("models", list(dict.fromkeys(map(_pair, shown))))
    axis = alt.Axis(tickCount=3)
    x = alt.X("low:Q", title="difference (bits per byte)", axis=axis)
    line, point = whiskers("difference", x, looks, 50, y=y)
    seeds = point.mark_point(size=12, yOffset=-8).encode(
        x="difference of seed:Q", shape=alt.value("circle")
    )
    text = (
        alt.Chart()
        .mark_text(dy=14)
        .encode(x="difference:Q", y=y, color=looks["color"], text="verdict:N")
    )
    return panel((line_at(0), line, seeds, point, text), "vs. the twin", 190)


def _pair(found: Comparison) -> str:
    return f"{found.label} vs. {found.reference_label}"


def _comparison_facts(found: Comparison) -> Iterator[dict[str, Any]]:
    named = {"models": _pair(found), "verdict": found.verdict}
    fields = ("difference", "low", "high", "p", "p_holm")
    yield named | {key: getattr(found, key) for key in fields} | {"seeds": len(found.by_seed)}
    for seed, value in found.by_seed.items():
        yield named | {"seed": seed, "difference of seed": value}


def layers_figure(rows: Sequence[Group]) -> Figure:
    """How similar tokens are by layer, how evenly experts are used, and how K changes.

    Args:
        rows: as for `bits_figure`.
    """
    import altair as alt

    facts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for field in HEADINGS:
        for row in rows:
            own = list(_curvatures(row) if field == CURVATURE else _states(row, field))
            if own:
                facts[field, f"{row.label}: {HEADINGS[field]}"] = own
    everything = [{"panel": title, **f} for (_, title), own in facts.items() for f in own]
    drawn = {fact["what"] for fact in everything}
    looks = {name: own for name, own in STATES.values() if name in drawn}
    starts = sorted(drawn - set(looks))
    looks |= {name: (PALETTE[-1 - place % 4], "stroke") for place, name in enumerate(starts)}
    encoded = look("what", looks)
    panels = []
    for field, title in facts:
        base = alt.Chart().transform_filter(alt.datum.panel == title)
        base = base.encode(y=alt.Y("value:Q", title=field), color=encoded["color"])
        if field == CURVATURE:
            x = alt.X("tokens:Q", title="tokens (thousands)")
            lines = base.mark_line(strokeWidth=0.6, tooltip={"content": "data"})
            layers = [lines.encode(x=x, detail="expert:N")]
        else:
            axis = alt.Axis(tickMinStep=1, format="d")
            scale = alt.Scale(domain=[-0.05, 1.05], nice=False)
            base = base.encode(
                x=alt.X("block:Q", axis=axis, scale=alt.Scale(padding=4)),
                y=alt.Y("value:Q", title=field, scale=scale),
            )
            points = base.mark_point(size=25).encode(shape=encoded["shape"])
            layers = [base.mark_line(strokeWidth=1.2), points]
        panels.append(panel(layers, title, 110))
    chart = alt.concat(*panels, data=data(everything), columns=min(3, len(panels)))
    caption = (
        "On held-out text, means over seeds. Public: weights drawn as in the public code; "
        "balanced: with zeros on the time coordinates. Mean cosine of 1: all tokens look the same; "
        "entropy of 1: experts are used evenly. K: a line for each expert of each block and seed."
    )
    title = "Pretraining: effect of the initialisation"
    return Figure("layers", title, caption, chart, 190 * -(-len(panels) // 3))


def _states(row: Group, field: str) -> Iterator[dict[str, Any]]:
    """What was measured layer by layer, mean over seeds, by the state of the weights."""
    found: dict[str, list[dict[int, float]]] = {}
    for record in row.records:
        training = record["training"]
        for name, layers in (training["initialisations"] | {"trained": training["layers"]}).items():
            by_block = {layer["block"]: layer["entropy"] for layer in layers["routing"]}
            values = dict(enumerate(layers["similarity"])) if field == COSINE else by_block
            found.setdefault(name, []).append(values)
    for name, runs in found.items():
        for block in runs[0]:
            mean = float(np.mean([values[block] for values in runs]))
            yield {"what": STATES[name][0], "block": block, "value": mean}


def _curvatures(row: Group) -> Iterator[dict[str, Any]]:
    """The change of each expert's K from its start, in percent."""
    step = row.records[0]["train"]["step_tokens"] / 1000
    for record in row.records:
        training = record["training"]
        starts = {k: v for k, v in training["curvatures_at_start"].items() if k != "stream"}
        for name, start in starts.items():
            named = {"what": f"K from {start:.3g}", "expert": f"{name}, seed {record['seed']}"}
            for at, values in [(0, starts), *training["curvatures"]]:
                yield named | {"tokens": at * step, "value": 100 * (values[name] / start - 1)}
