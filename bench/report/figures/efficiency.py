"""Time of each method beside LoRA's, one marker for each piece of work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.names import method_label
from bench.report.chart import ROW, Chart, chart_of, choice, values
from bench.report.style import STYLES, WIDE, new_figure, style_of, tidy

TITLE = "Time as a multiple of LoRA's"
REFERENCE = "lora"
Report = Mapping[str, Any]


def case_title(case: Mapping[str, Any]) -> str:
    """What a case of the report is called."""
    compiled = ", torch.compile" if case["compiled"] else ""
    return f"{case['case']}, {case['dtype']}, rank {case['rank']}{compiled}"


def picture(report: Report) -> Any:
    """A panel a case: each method's ratio with quartiles, one marker for each piece of work."""
    cases = report["cases"]
    figure = new_figure(WIDE, 0.8 + sum(0.4 + 0.17 * len(c["parameters"]) for c in cases))
    heights = [len(case["parameters"]) for case in cases]
    axes = figure.subplots(len(cases), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, case in zip(axes, cases, strict=True):
        methods = list(case["parameters"])
        for place, (work, times) in enumerate(case["works"].items()):
            colour, marker = style_of(place)
            shift = 0.5 * ((place + 0.5) / len(case["works"]) - 0.5)
            for method, time in times.items():
                low, middle, high = time["ratio_low"], time["ratio"], time["ratio_high"]
                axis.errorbar(
                    middle,
                    methods.index(method) + shift,
                    xerr=[[middle - low], [high - middle]],
                    fmt=marker,
                    color=colour,
                    markersize=4,
                    linewidth=1,
                    label=work if method == REFERENCE else None,
                )
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_yticks(range(len(methods)), [method_label(method) for method in methods])
        axis.invert_yaxis()
        tidy(axis, case_title(case))
        axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1].set_xlabel(
        "time as a multiple of LoRA's (log scale), quartiles over rounds", fontsize=8
    )
    return figure


def charts(report: Report) -> list[Chart]:
    """The same, one case at a time."""
    import altair as alt

    facts = [
        {
            "case": case_title(case),
            "method": method_label(method),
            "work": work,
            "ratio": time["ratio"],
            "low": time["ratio_low"],
            "high": time["ratio_high"],
            "median, ms": 1e3 * time["median"],
        }
        for case in report["cases"]
        for work, times in case["works"].items()
        for method, time in times.items()
    ]
    if not facts:
        return []
    order = list(dict.fromkeys(fact["method"] for fact in facts))
    works = list(dict.fromkeys(fact["work"] for fact in facts))
    # Without a domain the legend has the works of the chosen case alone.
    colours = alt.Scale(range=[colour for colour, _ in STYLES])
    paint = alt.Color("work:N", scale=colours, sort=works, title=None)
    base = alt.Chart(values(facts)).transform_filter("datum.case == wanted")
    y = alt.Y("method:N", sort=order, title=None, axis=alt.Axis(labelPadding=8))
    shift = alt.YOffset("work:N", sort=works)
    tell = ["method:N", "work:N", "ratio:Q", "low:Q", "high:Q", "median, ms:Q"]
    scale = alt.Scale(type="log", base=2)
    lines = base.mark_rule(size=2).encode(
        y=y,
        yOffset=shift,
        x=alt.X("low:Q", title="time as a multiple of LoRA's", scale=scale),
        x2="high:Q",
        color=paint,
        tooltip=tell,
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        y=y, yOffset=shift, x="ratio:Q", color=paint, tooltip=tell
    )
    one = alt.Chart(values([{"one": 1}])).mark_rule(strokeDash=[3, 3]).encode(x="one:Q")
    caption = (
        f"Median over {report['settings']['rounds']} rounds, a line the quartiles. Left of 1 is "
        "faster than LoRA. LoRA again is LoRA beside itself: what it differs from 1 by is noise."
    )
    wanted = choice("wanted", "Case", list(dict.fromkeys(fact["case"] for fact in facts)))
    height = int(1.6 * ROW) * len(order)
    return [chart_of(TITLE, caption, [one, lines, points], height, wanted=wanted)]
