"""Time of each method as a multiple of LoRA's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from bench.names import method_label
from bench.report.figure import Figure, data, facet, line_at, look, names, whiskers
from bench.report.theme import longest, look_of

STEP = 17  # pixels of a row
REGIMES = {
    "uniform": "adapter too",
    "evaluation": "adapter in float32",
    "training": "adapter in float32, autocast",
}


def case_title(case: Mapping[str, Any]) -> str:
    """What a case of the report is called."""
    kinds = {"compiled": "torch.compile", "liger": "Liger"}
    words = [f"rank {case['rank']}", *(kinds[kind] for kind in kinds if case.get(kind))]
    if case["dtype"] != "float32" and (regime := case.get("regime")):
        words.insert(0, REGIMES[regime])
    return ", ".join([case["case"], case["dtype"], *words])


def figure(report: Mapping[str, Any]) -> Figure | None:
    """A panel for each case of a report of `bench.efficiency`; None without a case."""
    works = list(dict.fromkeys(work for case in report["cases"] for work in case["works"]))
    if not works:
        return None
    looks = look("measured", {work: look_of(place) for place, work in enumerate(works)})
    scale = alt.Scale(type="log", base=2, nice=False, padding=8)
    x = alt.X("low:Q", title="time relative to LoRA", scale=scale, axis=alt.Axis(format="~g"))
    # Cases that measured the same methods share their names.
    together: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for case in report["cases"]:
        together.setdefault(tuple(map(method_label, case["parameters"])), []).append(case)
    extent = longest(name for methods in together for name in methods)
    blocks = []
    for methods, cases in together.items():
        facts = [
            {"case": case_title(case), "method": method_label(method), "measured": work}
            | {"ratio": time["ratio"], "low": time["ratio_low"], "high": time["ratio_high"]}
            | {"median (ms)": 1e3 * time["median"], "place": place}
            for case in cases
            for place, (work, times) in enumerate(case["works"].items())
            for method, time in times.items()
        ]
        y = names("method", methods, extent)
        layers = (line_at(1), *whiskers("ratio", x, looks, 25, y=y, yOffset="place:O"))
        titles, height = [case_title(case) for case in cases], STEP * len(methods)
        blocks.append(facet(layers, data(facts), "case", titles, 2, height, x="independent"))
    caption = (
        f"Point: median over {report['settings']['rounds']} rounds; line: quartiles. Left of 1 is "
        "faster than LoRA. LoRA again is LoRA compared with itself: its distance from 1 is noise. "
        "Logarithmic scale."
    )
    title = "Time of each method relative to LoRA"
    return Figure("efficiency", title, caption, alt.vconcat(*blocks), 1000)
