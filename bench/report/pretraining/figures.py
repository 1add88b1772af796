"""The two pictures of a report on pretraining."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report.pretraining.beside import TwinDifference
from bench.report.pretraining.rows import PretrainedRow
from bench.report.statistics.differences import BETTER as BETTER_WORD
from bench.report.statistics.differences import WORSE as WORSE_WORD
from bench.report.style import (
    BETTER,
    OPEN,
    SMALL,
    WIDE,
    WORSE,
    head,
    legend_below,
    name_axis,
    new_figure,
    style_of,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A model and its twin share a colour; the twin's line is dashed.
LOOKS = {
    "helm_d": ("#D55E00", "D", "-"),
    "llama_twin": ("#D55E00", "o", "--"),
    "helm_mice": ("#0072B2", "s", "-"),
    "deepseek_twin": ("#0072B2", "^", "--"),
}
EXPERTS = ("#000000", "#E69F00", "#CC79A7", "#56B4E9")
STATES = {  # of weights, in the picture of the layers
    "public": ("#D55E00", "v", "public, at start"),
    "balanced": ("#009E73", "o", "balanced, at start"),
    "trained": ("#0072B2", "s", "after training"),
    "own": ("#777777", "D", "twin, at start"),
}


def bits_figure(rows: Sequence[PretrainedRow], differences: Sequence[TwinDifference]) -> Figure:
    """Bits per byte while training, and each model less its twin."""
    figure = new_figure(WIDE, 2.9)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _curves(left, rows)
    _differences(right, differences)
    handles, labels = left.get_legend_handles_labels()
    legend_below(figure, handles, labels)
    seeds = max(len(row.records) for row in rows)
    head(
        figure,
        f"Pretraining, {seeds} seeds: bits per byte of a part of the held-out text while training "
        "(a thin line each seed, a thick one their mean), and on all of it each model less its "
        "twin (points: seeds; bar: 95% interval)",
    )
    return figure


def _curves(axis: Axes, rows: Sequence[PretrainedRow]) -> None:
    values: list[float] = []
    for row, look in zip(rows, looks(rows), strict=True):
        colour, marker, line = look
        tokens, curves = held_out(row)
        for curve in curves:
            axis.plot(tokens, curve, color=colour, linestyle=line, linewidth=0.4, alpha=0.6)
        axis.plot(
            tokens,
            np.mean(curves, axis=0),
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=3,
            linewidth=1.2,
            label=row.label,
        )
        values += [value for curve in curves for value in curve[1:] or curve]
    tidy(axis, "Held-out text")
    if values:  # the first measurement is far above all others
        room = 0.05 * (max(values) - min(values)) or 0.05
        axis.set_ylim(min(values) - room, max(values) + room)
    name_axis(axis, x="tokens, thousands", y="bits per byte")


def held_out(row: PretrainedRow) -> tuple[list[float], list[list[float]]]:
    """Thousands of tokens at which a row was measured, and by seed the bits per byte there."""
    runs = [record["training"]["held_out"] for record in row.records.values()]
    step = row.first["train"]["step_tokens"] / 1000
    return [at * step for at, _ in runs[0]], [[value for _, value in run] for run in runs]


def looks(rows: Sequence[PretrainedRow]) -> Iterator[tuple[str, str, str]]:
    """Colour, marker and line of each row; a second row of a model has a look of its own."""
    seen = set()
    for place, row in enumerate(rows):
        look = LOOKS.get(row.model)
        if look is None or row.model in seen:
            yield (*style_of(place), ":")
        else:
            yield look
        seen.add(row.model)


def _differences(axis: Axes, differences: Sequence[TwinDifference]) -> None:
    colours = {BETTER_WORD: BETTER, WORSE_WORD: WORSE}
    shown = [found for found in differences if found.difference is not None]
    axis.axvline(0, color="#777777", linewidth=0.8)
    for place, found in enumerate(shown):
        colour = colours.get(found.verdict, OPEN)
        if found.low is not None and found.high is not None:
            axis.plot([found.low, found.high], [place, place], color=colour, linewidth=1.5)
        seeds = list((found.by_seed or {}).values())
        axis.plot(seeds, [place - 0.15] * len(seeds), ".", color=colour, markersize=3)
        axis.plot(found.difference or 0.0, place, "D", color=colour, markersize=4)
        axis.annotate(
            found.verdict,
            (found.difference, place),
            xytext=(0, -10),
            textcoords="offset points",
            fontsize=SMALL,
            ha="center",
            color=colour,
        )
    axis.set_yticks(range(len(shown)), [f"{f.row.label}\nless {f.twin.label}" for f in shown])
    axis.set_ylim(max(len(shown) - 0.4, 0.6), -0.6)  # the first on top
    tidy(axis, "Beside the twin")
    name_axis(axis, x="difference, bits per byte")


def layers_figure(rows: Sequence[PretrainedRow]) -> Figure:
    """How alike tokens are by layer, how evenly they are routed, and where curvatures go."""
    models = [row for row in rows if "public" in row.first["training"]["initialisations"]] or rows
    experts = [row for row in models if row.first["training"]["layers"]["routing"]]
    curved = [row for row in models if len(row.first["training"]["curvatures_at_start"]) > 1]
    panels = len(models) + len(experts) + len(curved)
    columns = min(panels, 2)
    figure = new_figure(WIDE, 0.8 + 2.0 * -(-panels // columns))
    axes = iter(figure.subplots(-(-panels // columns), columns, squeeze=False).flatten())
    for row in models:
        axis = next(axes)
        _states(axis, row, "similarity")
        axis.set_ylim(-0.05, 1.05)
        tidy(axis, f"{row.label}: how alike tokens are")
        name_axis(axis, x="blocks behind it", y="mean cosine")
    for row in experts:
        axis = next(axes)
        _states(axis, row, "entropy")
        axis.set_ylim(-0.05, 1.05)
        tidy(axis, f"{row.label}: evenness of the experts' load")
        name_axis(axis, x="block", y="entropy (1: even)")
    for row in curved:
        axis = next(axes)
        _curvature(axis, row)
        tidy(axis, f"{row.label}: K of the experts, all blocks and seeds")
        name_axis(axis, x="tokens, thousands", y="K, change in percent")
    for axis in axes:
        axis.set_visible(False)
    found: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    legend_below(figure, list(found.values()), list(found))
    head(
        figure,
        "What the initialisation does to the tokens of held-out text: public as the public code "
        "draws its weights, balanced with zeros on the time coordinates; means over seeds. A "
        "mean cosine of 1: every token looks the same",
    )
    return figure


def _states(axis: Axes, row: PretrainedRow, key: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, runs in states(row).items():
        colour, marker, label = STATES[name]
        if key == "similarity":
            places = list(range(len(runs[0]["similarity"])))
            values = np.mean([run["similarity"] for run in runs], axis=0)
        else:
            places = [layer["block"] for layer in runs[0]["routing"]]
            entropies = [[layer["entropy"] for layer in run["routing"]] for run in runs]
            values = np.mean(entropies, axis=0)
        axis.plot(
            places, values, color=colour, marker=marker, markersize=3, linewidth=1, label=label
        )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def states(row: PretrainedRow) -> dict[str, list[Mapping[str, Any]]]:
    """What was measured layer by layer, of each seed, by the weights' state: a key of STATES."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in row.records.values():
        training = record["training"]
        for name, layers in (training["initialisations"] | {"trained": training["layers"]}).items():
            found.setdefault(name, []).append(layers)
    return found


def _curvature(axis: Axes, row: PretrainedRow) -> None:
    """How far K went from where it began: a line for each expert, a colour for each beginning."""
    step = row.first["train"]["step_tokens"] / 1000
    for record in row.records.values():
        training = record["training"]
        starts = {k: v for k, v in training["curvatures_at_start"].items() if k != "stream"}
        begun = sorted({round(start, 3) for start in starts.values()})
        for name, start in starts.items():
            curve = [(0, starts), *training["curvatures"]]
            place = begun.index(round(start, 3))
            axis.plot(
                [at * step for at, _ in curve],
                [100 * (values[name] / start - 1) for _, values in curve],
                color=EXPERTS[place % len(EXPERTS)],
                linestyle=("-", ":")[place // len(EXPERTS) % 2],
                linewidth=0.7,
                label=f"K from {start:.3g}",
            )
