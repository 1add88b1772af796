"""The figure of a run's gates: how large they are and how much they vary, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report.style import (
    WIDE,
    head,
    legend_below,
    log_scale,
    name_axis,
    new_figure,
    style_of,
    tidy,
)
from bench.tracking.record import gates_by_module

PANELS = {
    "mean": "mean gate",
    "variation": "coefficient of variation",
    "largest": "largest gate",
}


def draw_gates(gates: Mapping[str, Sequence[Mapping[str, Any]]], title: str, path: Path) -> None:
    """Draw mean, variation and largest gate over layers, by module type, and save the figure.

    Args:
        gates: `start` and `end`, as a record has them in `training.gates`.
        title: of the figure.
        path: where it is saved; the ending says the format.
    """
    figure = new_figure(WIDE, 2.7)
    axes = figure.subplots(1, len(PANELS), sharex=True)
    modules = list(gates_by_module(gates["end"]))
    for axis, (key, label) in zip(axes, PANELS.items(), strict=True):
        for place, module in enumerate(modules):
            colour, marker = style_of(place)
            for when, line, fill in (("start", "--", "none"), ("end", "-", colour)):
                layers = [layer for layer in gates[when] if layer["module"] == module]
                axis.plot(
                    [layer_number(layer["layer"], i) for i, layer in enumerate(layers)],
                    [layer[key] for layer in layers],
                    linestyle=line,
                    marker=marker,
                    markerfacecolor=fill,
                    markersize=4,
                    linewidth=1,
                    color=colour,
                    label=module if when == "end" else None,
                )
        log_scale(axis, [layer[key] for moment in gates.values() for layer in moment])
        tidy(axis, label)
        name_axis(axis, x="layer")
        axis.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes[0].get_legend_handles_labels()
    legend_below(figure, handles, labels, columns=5)
    head(figure, f"{title}: gates before training (dashed) and after")
    figure.savefig(path, dpi=200)


def layer_number(name: str, otherwise: int) -> int:
    """The layer's index in the model, the first number of its name."""
    found = re.search(r"\.(\d+)\.", name)
    return int(found[1]) if found else otherwise
