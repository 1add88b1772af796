"""Relative delta-hyperbolicity beside what it has to be compared with: controls and spaces."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.report.embeddings_figures.legend import shared_legend
from bench.report.style import STYLES, TEXT, WIDE, head, name_axis, new_figure, style_of, tidy

Rows = Sequence[Mapping[str, Any]]

METRICS = {"euclidean": "Euclidean", "cosine": "cosine"}
BASE_POINTS = {"first": "base point: the first token", "all": "base point: the worst"}
GAUSSIAN = "control: Gaussian vectors, same norms"
PROMPTS = {
    "embeddings": "the tokens' embeddings",
    "gaussian": GAUSSIAN,
    "shuffled": "control: other tokens' embeddings",
}
CONTROLS = {"gaussian": GAUSSIAN, "shuffled": "control: states of other prompts"}
AXIS = "2 δ / diameter"
MARKS = "median, middle half and middle 95% of prompts"
LETTERS = 18  # of a line of a name
LINES = ("-", "--", "-.", ":")


def prompts(rows: Rows, spaces: Rows) -> Any:
    """The prompts of each set and their controls, beside reference spaces; None without prompts."""
    sets = _labels(rows, "label")
    if not sets:
        return None
    figure, panels = _panels(rows, height=1.75 + 0.42 * len(sets) * _down(rows))
    for (metric, base_point), axis in panels.items():
        for number, space in enumerate(spaces):
            middle = _mean(space["exact"])
            colour, _ = STYLES[number % len(STYLES)]
            line = LINES[number % len(LINES)]
            if middle is not None:
                label = f"{space['space']}: {middle:.2f}"
                axis.axvline(middle, color=colour, linestyle=line, linewidth=1, label=label)
        for place, name in enumerate(sets):
            of_set = _of(rows, metric, base_point, label=name)
            for number, (key, label) in enumerate(PROMPTS.items()):
                shift = 0.66 * ((number + 0.5) / len(PROMPTS) - 0.5)
                fill = "black" if key == "embeddings" else "white"
                _spread(
                    axis, _values(of_set, key), place + shift, "black", "oDs"[number], fill, label
                )
        _name_rows(axis, sets)
        axis.set_xlim(-0.03, 1.03)
    shared_legend(figure, panels.values(), columns=2)
    lines = "; lines: reference spaces, exact" if spaces else ""
    head(figure, f"Relative δ-hyperbolicity of prompts: {MARKS}{lines}")
    return figure


def hidden(rows: Rows) -> Any:
    """The last hidden layer of the base and after each method; None where none was measured."""
    models, sets = _labels(rows, "model"), _labels(rows, "label")
    if not models:
        return None
    figure, panels = _panels(rows, height=1.6 + 0.34 * len(models) * _down(rows))
    for (metric, base_point), axis in panels.items():
        for place, model in enumerate(models):
            for number, name in enumerate(sets):
                found = _of(rows, metric, base_point, label=name, model=model)
                y = place + 0.7 * ((number + 0.5) / len(sets) - 0.5)
                for (key, label), sign in zip(CONTROLS.items(), "|x", strict=True):
                    value = _mean(_values(found, key))
                    if value is not None:
                        axis.plot(value, y, sign, color="0.5", markersize=3, label=label)
                colour, marker = style_of(number)
                _spread(axis, _values(found, "states"), y, colour, marker, colour, name)
        _name_rows(axis, models)
    # Behind the last panel: a limit that is set no longer grows with what is drawn.
    for axis in panels.values():
        axis.set_xlim(left=0)
    shared_legend(figure, panels.values())
    head(figure, f"Relative δ-hyperbolicity of the last hidden layer: {MARKS}")
    return figure


def _panels(rows: Rows, height: float) -> tuple[Any, dict[tuple[str, str], Any]]:
    """A figure with a panel for each distance (down) and base point (across) that was measured."""
    down = [key for key in METRICS if any(row["metric"] == key for row in rows)]
    across = [key for key in BASE_POINTS if any(row["base_point"] == key for row in rows)]
    figure = new_figure(WIDE, height)
    axes = figure.subplots(len(down), len(across), sharex=True, sharey=True, squeeze=False)
    found = {(m, b): axes[i][j] for i, m in enumerate(down) for j, b in enumerate(across)}
    for (metric, base_point), axis in found.items():
        tidy(axis)
        axis.set_title(f"{METRICS[metric]}, {BASE_POINTS[base_point]}", fontsize=TEXT)
    for axis in axes[-1]:
        name_axis(axis, AXIS)
    return figure, found


def _down(rows: Rows) -> int:
    return len({row["metric"] for row in rows})


def _labels(rows: Rows, key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _of(rows: Rows, metric: str, base_point: str, **named: str) -> list[Mapping[str, Any]]:
    wanted = {"metric": metric, "base_point": base_point, **named}
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _values(rows: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    """A kind's values of all prompts, of several runs of a method together."""
    return [value for row in rows for value in row.get(key) or ()]


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None


def _spread(
    axis: Any, values: list[float], y: float, colour: str, marker: str, fill: str, label: str
) -> None:
    """The median of prompts, the middle half of them and the middle 95%."""
    import numpy as np

    if not values:
        return
    low, q1, middle, q3, high = np.quantile(values, (0.025, 0.25, 0.5, 0.75, 0.975))
    axis.plot([low, high], [y, y], color=colour, linewidth=0.6)
    axis.plot([q1, q3], [y, y], color=colour, linewidth=2)
    axis.plot(middle, y, marker, color=colour, mfc=fill, markersize=4, mew=0.8, label=label)


def _name_rows(axis: Any, names: Sequence[str]) -> None:
    wrapped = ["\n".join(textwrap.wrap(name, LETTERS)) for name in names]
    axis.set_yticks(range(len(names)), wrapped)
    axis.set_ylim(len(names) - 0.5, -0.5)
