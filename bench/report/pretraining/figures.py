"""The two figures of a report on pretraining."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from statistics import fmean
from typing import Any

import altair as alt

from bench.report import theme
from bench.report.comparison import Comparison
from bench.report.figure import Figure, data, line_at, log_axis, look, names, panel, whiskers
from bench.report.pretraining.tables import states
from bench.report.selection import Group
from bench.report.theme import BLUE, GREEN, GREY, ORANGE, PALETTE, RED, VERDICTS, Look, look_of

# A model and its Euclidean twins share a colour; lines of twins are dashed, of matched ones dotted.
MODELS: dict[str, tuple[Look, list[int]]] = {
    "helm_d": ((RED, "diamond"), [1, 0]),
    "llama_twin": ((RED, "circle"), [5, 3]),
    "helm_mice": ((BLUE, "square"), [1, 0]),
    "deepseek_twin": ((BLUE, "triangle-up"), [5, 3]),
    "llama_twin_matched": ((RED, "cross"), [1, 3]),
    "deepseek_twin_matched": ((BLUE, "triangle-down"), [1, 3]),
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
    """Bits per byte while training, and the differences of models to their twins."""
    shown = [found for found in comparisons if found.difference is not None]
    facts = [fact for row in rows for fact in _curves(row)]
    panels = [_training(rows, facts)]
    caption = (
        "Left: on a part of the validation documents; thin lines: seeds; thick line: mean; dashed "
        "and dotted: twins. Logarithmic scale."
    )
    if shown:
        differences = [fact for found in shown for fact in _comparison_facts(found)]
        panels.append(_differences(differences))
        facts += differences
        caption += (
            f" Right: on the {rows[0].first['split']} documents; diamond: mean; points: seeds; "
            "line: 95% interval of one comparison alone; the verdict is by the test that is "
            "corrected over all comparisons. Left of 0: fewer bits than the twin."
        )
    chart = alt.concat(*panels, data=data(facts), columns=2, align="each")
    own: dict[str, Any] = dict.fromkeys(("color", "shape", "strokeDash"), "independent")
    return Figure("bits", "Pretraining: bits per byte", caption, chart.resolve_scale(**own))


def _training(rows: Sequence[Group], facts: Sequence[dict[str, Any]]) -> Any:
    looks, dashes, seen = {}, [], set()
    for place, row in enumerate(rows):
        model = row.first["model"]
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
    return panel((seeds, base.mark_line(strokeWidth=1.4), points), "validation", 190)


def _curves(row: Group) -> Iterator[dict[str, Any]]:
    """Thousands of tokens and bits per byte: the mean over seeds where all have one, and each."""
    step = row.first["train"]["step_tokens"] / 1000
    curves = {record["seed"]: dict(record["training"]["validation"]) for record in row.records}
    for at in sorted({at for curve in curves.values() for at in curve}):
        values = {seed: curve[at] for seed, curve in curves.items() if at in curve}
        named = {"model": row.label, "tokens": at * step}
        if len(values) == len(curves):
            of_all = values.values()
            yield named | {"bits": fmean(of_all), "lowest": min(of_all), "highest": max(of_all)}
        for seed, value in values.items():
            yield named | {"seed": seed, "of seed": value}


def _differences(facts: Sequence[dict[str, Any]]) -> Any:
    verdicts = {fact["verdict"]: (VERDICTS[fact["verdict"]][0], "diamond") for fact in facts}
    looks = look("verdict", verdicts, legend=False)
    y = names("models", list(dict.fromkeys(fact["models"] for fact in facts)))
    x = alt.X("low:Q", title="difference (bits per byte)", axis=alt.Axis(tickCount=3))
    line, point = whiskers("difference", x, looks, 50, y=y)
    seeds = point.mark_point(size=12, yOffset=-8).encode(
        x="difference of seed:Q", shape=alt.value("circle")
    )
    text = alt.Chart().mark_text(dy=14)
    text = text.encode(x="difference:Q", y=y, color=looks["color"], text="verdict:N")
    return panel((line_at(0), line, seeds, point, text), "vs. the twin", 190)


def _comparison_facts(found: Comparison) -> Iterator[dict[str, Any]]:
    models = f"{found.label} vs. {found.reference_label}"
    named = {"models": models, "verdict": found.verdict}
    fields = ("difference", "low", "high", "p", "p_holm")
    yield named | {key: getattr(found, key) for key in fields} | {"seeds": len(found.by_seed)}
    for seed, value in found.by_seed.items():
        yield named | {"seed": seed, "difference of seed": value}


def layers_figure(rows: Sequence[Group]) -> Figure:
    """How similar tokens are by layer, how evenly experts are used, and how K changes."""
    facts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for field, heading in HEADINGS.items():
        for row in rows:
            if own := list(_curvatures(row) if field == CURVATURE else _states(row, field)):
                title = f"{row.label}: {heading}"
                facts[field, title] = [{"panel": title, **fact} for fact in own]
    everything = list(chain(*facts.values()))
    drawn = {fact["what"] for fact in everything}
    looks = {name: own for name, own in STATES.values() if name in drawn}
    starts = sorted(drawn - set(looks))
    looks |= {name: (PALETTE[-1 - place % 4], "stroke") for place, name in enumerate(starts)}
    encoded = look("what", looks)
    block = alt.X("block:Q", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(padding=4))
    panels = []
    for field, title in facts:
        base = alt.Chart().transform_filter(alt.datum.panel == title)
        if field == CURVATURE:
            lines = base.mark_line(strokeWidth=0.6, tooltip={"content": "data"})
            x, y = alt.X("tokens:Q", title="tokens (thousands)"), alt.Y("value:Q", title=field)
            layers = [lines.encode(x=x, y=y, color=encoded["color"], detail="expert:N")]
        else:
            scale = alt.Scale(domain=[-0.05, 1.05], nice=False)
            y = alt.Y("value:Q", title=field, scale=scale)
            base = base.encode(x=block, y=y, color=encoded["color"])
            points = base.mark_point(size=25).encode(shape=encoded["shape"])
            layers = [base.mark_line(strokeWidth=1.2), points]
        panels.append(panel(layers, title, 110))
    chart = alt.concat(*panels, data=data(everything), columns=min(3, len(panels)))
    caption = (
        "On validation documents, means over seeds. Public: weights drawn as in the public code; "
        "balanced: with zeros on the time coordinates. Mean cosine of 1: all tokens look the same; "
        "entropy of 1: experts are used evenly. K: a line for each expert of each block and seed."
    )
    title = "Pretraining: effect of the initialisation"
    return Figure("layers", title, caption, chart, 190 * -(-len(panels) // 3))


def _states(row: Group, field: str) -> Iterator[dict[str, Any]]:
    """What was measured layer by layer, mean over seeds, by the state of the weights."""
    blocks = [layer["block"] for layer in row.first["training"]["layers"]["routing"]]
    for name, (similarity, entropy) in states(row).items():
        by_block: Iterable[tuple[int, float]] = enumerate(similarity)
        if field == ENTROPY:
            by_block = zip(blocks, entropy, strict=True)
        for block, mean in by_block:
            yield {"what": STATES[name][0], "block": block, "value": mean}


def _curvatures(row: Group) -> Iterator[dict[str, Any]]:
    """The change of each expert's K from its start, in percent."""
    step = row.first["train"]["step_tokens"] / 1000
    for record in row.records:
        training = record["training"]
        starts = {k: v for k, v in training["curvatures_at_start"].items() if k != "stream"}
        for name, start in starts.items():
            named = {"what": f"K from {start:.3g}", "expert": f"{name}, seed {record['seed']}"}
            for at, values in [(0, starts), *training["curvatures"]]:
                yield named | {"tokens": at * step, "value": 100 * (values[name] / start - 1)}
