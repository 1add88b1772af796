"""One legend for the panels of a picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.report.style import legend_below


def shared_legend(figure: Any, axes: Iterable[Any], columns: int = 4) -> None:
    """What the panels' marks are, below them; a label that several panels have stands there once.

    Args:
        figure: of matplotlib.
        axes: its panels.
        columns: the most labels side by side.
    """
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        legend_below(figure, list(found.values()), list(found), min(columns, len(found)))
