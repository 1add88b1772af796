"""What all figures have in common: size, type, and a method's colour and marker."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: the text's width of a paper in two columns. A figure is drawn at the size at which it is
# printed, so that its text is of the size that is given here.
WIDE = 6.75
TEXT, SMALL = 8, 7  # points

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

# A method looks the same in every figure. Relatives share a colour, and differ by their marker.
METHOD_STYLES = {
    "none": ("#777777", "<"),
    "prefix": ("#CC79A7", "P"),
    "series": ("#009E73", "^"),
    "parallel": ("#009E73", "v"),
    "lora": ("#0072B2", "o"),
    "lora_matched": ("#0072B2", "s"),
    "dora": ("#56B4E9", ">"),
    "hyplora": ("#D55E00", "D"),
    "hyplora_boost": ("#E69F00", "^"),
    "hyplora_tangent": ("#E69F00", "s"),
    "hyplora_authors": ("#CC79A7", "D"),
    "hyplora_authors_simplified": ("#CC79A7", "v"),
}
# Of methods without a style of their own.
OTHERS = [
    (colour, marker)
    for marker in "<>Psv^Do"
    for colour, _ in STYLES[:6]
    if (colour, marker) not in METHOD_STYLES.values()
]

# Of rows that share a method. Without black, which a dark page would hide.
ROW_STYLES = [*STYLES[:6], ("#777777", "<"), ("#0072B2", ">")]

BETTER, WORSE, OPEN = "#009E73", "#D55E00", "#777777"


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches, without pyplot: no state, and no display is looked for."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def style_of(index: int) -> tuple[str, str]:
    """Colour and marker of a series, by its place."""
    return STYLES[index % len(STYLES)]


def method_styles(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each method, by its key, in the order given."""
    found = dict.fromkeys(methods)
    unknown = [method for method in found if method not in METHOD_STYLES]
    return {
        method: METHOD_STYLES.get(method) or OTHERS[unknown.index(method) % len(OTHERS)]
        for method in found
    }


def tidy(axis: Axes, title: str = "") -> None:
    """Small text, a faint grid, and no frame where no scale is."""
    axis.set_title(title, fontsize=TEXT)
    axis.tick_params(labelsize=SMALL, which="both")
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_linewidth(0.6)


def name_axis(axis: Axes, x: str = "", y: str = "") -> None:
    """Say what the axes are of, with units; an axis without a name keeps what it has."""
    if x:
        axis.set_xlabel(x, fontsize=SMALL)
    if y:
        axis.set_ylabel(y, fontsize=SMALL)


def head(figure: Figure, text: str) -> None:
    """Say above a figure what it shows and what its marks are, in as many lines as that takes."""
    characters = int(16 * figure.get_figwidth())  # at TEXT points
    figure.suptitle(textwrap.fill(text, characters), fontsize=TEXT, x=0.01, ha="left")


def legend_below(figure: Figure, handles: list[Any], labels: list[str], columns: int = 4) -> None:
    """One legend under all panels, off the data."""
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False
    )


def log_scale(axis: Axes, values: list[float], which: str = "y") -> None:
    """A logarithmic axis, where there is a value that it can show.

    Ticks stand at 1, 2 and 5 where the values span little, so that two of them at least are named.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    positive = [value for value in values if value > 0]
    if not positive:
        return
    axis.set(**{f"{which}scale": "log"})
    scale = axis.yaxis if which == "y" else axis.xaxis
    scale.set_minor_locator(NullLocator())
    if max(positive) < 100 * min(positive):
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter("{x:,g}")


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG and PNG, the same bytes for the same figure; return the paths."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    if figure.get_layout_engine() is not None:  # once for both: it is what takes the time
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
    with matplotlib.rc_context({"svg.hashsalt": name}):
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=200, metadata=metadata)
    return paths
