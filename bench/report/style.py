"""What all figures have in common."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by people with any colour vision; each with its own marker.
STYLES = [
    ("#0072B2", "o"),
    ("#E69F00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#D55E00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
]

COLUMN, WIDE = 3.3, 7.0  # inches: one column of a paper, and its text's whole width


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches, without pyplot: no state, and no display is looked for."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def style_of(index: int) -> tuple[str, str]:
    """Colour and marker of a series, by its place."""
    return STYLES[index % len(STYLES)]


def tidy(axis: Axes, title: str = "") -> None:
    """Small text and a faint grid."""
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=7, which="both")
    axis.grid(alpha=0.25, linewidth=0.5)


def legend_below(figure: Figure, axes: Iterable[Axes], columns: int = 4) -> None:
    """One legend for all panels, off the data; a label that several have stands there once."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            found.values(),
            found.keys(),
            loc="outside lower center",
            ncols=min(columns, len(found)),
            fontsize=7,
            frameon=False,
        )


def log_scale(axis: Axes, values: list[float]) -> None:
    """A logarithmic y axis, where there is a value that it can show."""
    if any(value > 0 for value in values):
        axis.set_yscale("log")


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG and PNG, the same bytes for the same figure; return the paths."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    with matplotlib.rc_context({"svg.hashsalt": name}):
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=150, metadata=metadata)
    return paths
