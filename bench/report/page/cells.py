"""A section's grid as a page shows it: what columns are sorted by, which rows stay together."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.report.layout import EMPTY, Section
from bench.report.statistics.differences import BETTER, WORSE

# What a cell begins with that is sorted as a number: `~25 s`, `147,456`, `+0.3¹`, `1.02 [0.9, 1]`.
NUMBER = re.compile(r"[~<]?([+\-−]?[\d,]*\.?\d+(?:e[+-]?\d+)?)\s*(ms|s|min|h|%)?(?![A-Za-z\d.])")
SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class GridCell:
    """One cell.

    Attributes:
        text: as the Markdown table has it.
        key: what its column is sorted by; None for text, which is sorted as such.
        name: whether it names its row.
        verdict: `better` or `worse` where it says so, else empty.
        empty: whether it stands for no figure: such cells come last in any order.
    """

    text: str
    key: float | None
    name: bool
    verdict: str = ""
    empty: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of a page.

    Attributes:
        header: the columns' heads.
        names: how many columns, from the left, name the rows.
        blocks: rows that stay together when the table is sorted: a row whose first cell is empty
            belongs to the one above it. A block is sorted by its last row.
        sortable: whether there is an order to choose.
    """

    header: tuple[str, ...]
    names: int
    blocks: tuple[tuple[tuple[GridCell, ...], ...], ...]

    @property
    def sortable(self) -> bool:
        """Whether there is an order to choose."""
        return len(self.blocks) > 1


def grid_of(section: Section) -> Grid:
    """The grid of a section."""
    blocks: list[list[tuple[GridCell, ...]]] = []
    for row in section.rows:
        cells = tuple(_cell(text, place < section.names) for place, text in enumerate(row))
        if row[0] or not blocks:
            blocks.append([])
        blocks[-1].append(cells)
    header = tuple(_kept_together(head) for head in section.header)
    return Grid(header, section.names, tuple(map(tuple, blocks)))


def sort_key(text: str) -> float | None:
    """The number that a cell begins with, times in seconds; None where it begins with none.

    >>> sort_key("~2 min"), sort_key("72.3 ± 1.4"), sort_key("147,456"), sort_key("LoRA")
    (120.0, 72.3, 147456.0, None)
    """
    found = NUMBER.match(text)
    if not found:
        return None
    number = float(found[1].replace(",", "").replace("−", "-"))
    return number * SECONDS.get(found[2] or "", 1.0)


def _kept_together(head: str) -> str:
    """A head in which a short remark in brackets is not broken: `step 256 (LoRA 2.2 s)`."""
    return re.sub(r"\([^()]{1,20}\)", lambda found: found[0].replace(" ", "\u00a0"), head)


def _cell(text: str, name: bool) -> GridCell:
    words = text.split()
    claims = [word for word in (*words[:1], *words[-1:]) if word in (BETTER, WORSE)]
    return GridCell(
        text=text,
        key=None if name else sort_key(text),
        name=name,
        verdict=claims[0] if claims else "",
        empty=text in ("", EMPTY),
    )
