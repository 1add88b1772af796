"""Results as Markdown, CSV, JSON, LaTeX and on the terminal."""

import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import printable
from bench.files import write_text
from bench.names import key_of
from bench.report.formats.escape import CsvWriter, in_markdown, markdown_line
from bench.report.latex import latex
from bench.report.layout import Document, Section, document, tail
from bench.report.rows import Row
from bench.report.statistics import BesideReference, PairedDifference
from bench.report.table import Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

CSV_HEADER = (
    "row", "method", "curvature", "set", "mean", "sd", "seeds", "n", "published", "difference",
    "low", "high",
)  # fmt: skip
# For each reference of the table: `vs_lora_difference`, ...
CSV_BESIDE = ("difference", "low", "high", "p", "p_holm", "verdict")


def write(table: Table, folder: Path | str) -> list[Path]:
    """Write <name>.md, <name>.csv, <name>.json and <name>.tex.

    Each file is written beside its place and then moved there, so that a reader never finds half
    of one, and a failure leaves the previous file as it was.

    Returns:
        The paths, in that order.
    """
    return write_document(
        document(table), table.name, Path(folder), data=to_json(table), csv=to_csv(table)
    )


def write_document(
    document: Document, name: str, folder: Path, data: str, csv: str | None = None
) -> list[Path]:
    """Write <name>.md, <name>.csv, <name>.json and <name>.tex; return the paths, in that order.

    Args:
        document: what the Markdown and the LaTeX have.
        name: stem of the files.
        folder: made where it isn't there.
        data: the JSON.
        csv: the CSV; None for :func:`cells_csv`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "md": markdown(document),
        "csv": cells_csv(document) if csv is None else csv,
        "json": data,
        "tex": latex(document, name),
    }
    paths = {folder / f"{name}.{end}": text for end, text in texts.items()}
    for path, text in paths.items():
        write_text(path, text)
    return list(paths)


def to_markdown(table: Table) -> str:
    """The table for a person: one decimal, mean ± standard deviation."""
    return markdown(document(table))


def to_latex(table: Table) -> str:
    """The table for a paper."""
    return latex(document(table), table.name)


def markdown(document: Document) -> str:
    """A document as Markdown."""
    lines = [f"# {in_markdown(document.title)}", ""]
    lines += [f"- {in_markdown(f'{name}: {text}')}" for name, text in document.facts.items()]
    for section in document.sections:
        if section.heading:
            lines += ["", f"## {in_markdown(section.heading)}"]
        if section.rows:
            lines += ["", *_grid(section)]
        lines += ["", *(f"- {markdown_line(note)}" for note in section.notes)]
    return "\n".join(lines) + "\n"


def cells_csv(document: Document) -> str:
    """The grids of a document in long form: a line for each cell, as the Markdown has it.

    A row goes by its names, of which the first ones, where they are left empty, stand in the row
    above.
    """
    out = io.StringIO()
    writer = CsvWriter(out)
    writer.writerow(("section", "row", "column", "cell"))
    for section in document.sections:
        named: list[str] = []
        for row in section.rows:
            own = row[: section.names]
            empty = len(list(takewhile(lambda name: not name, own)))
            named = [*named[:empty], *own[empty:]]
            figures = zip(section.header[section.names :], row[section.names :], strict=True)
            for column, cell in figures:
                writer.writerow((section.heading, ", ".join(filter(None, named)), column, cell))
    return out.getvalue()


def to_csv(table: Table) -> str:
    """The cells in long form, unrounded: one line for each method, curvature and set.

    `micro` and `macro` stand among the sets. An empty field means: no such figure. Chance and
    majority class are rows without a method, over no seeds. Where the paper prints a method twice,
    `published` is the run of its authors, not the one they cite. `low` and `high` are the mean's
    95% interval; `vs_lora_...` the row less LoRA, with its interval and verdict.
    """
    out = io.StringIO()
    writer = CsvWriter(out)
    heads = (f"vs_{found.method}_{name}" for found in table.beside for name in CSV_BESIDE)
    writer.writerow((*CSV_HEADER, *heads))
    pairs = table.comparison.rows if table.comparison else ()
    for row in table.rows:
        beside = [x for x in pairs if (x.method, x.curvature) == (row.method, row.curvature)]
        beside.sort(key=lambda pair: pair.origin.startswith("cited"))
        papers = {key_of(key): cell for key, cell in beside[0].cells.items()} if beside else {}
        for key, cell in row.cells.items():
            paper = papers.get(key_of(key))
            figures = (cell.mean, cell.sd, cell.seeds, cell.n)
            published = (paper.paper, paper.difference) if paper else (None, None)
            verdicts = (
                getattr(_on(found, row, key), name, None)
                for found in table.beside
                for name in CSV_BESIDE
            )
            who = (row.label, row.method, row.curvature, key)
            writer.writerow((*who, *figures, *published, cell.low, cell.high, *verdicts))
    for guess in table.guesses:
        for key, cell in guess.cells.items():
            figures = (cell.mean, cell.sd, cell.seeds, cell.n)
            empty = [None] * (4 + len(CSV_BESIDE) * len(table.beside))
            writer.writerow((guess.label, None, None, key, *figures, *empty))
    return out.getvalue()


def _on(found: BesideReference, row: Row, key: str) -> PairedDifference | None:
    """The comparison of a row on a benchmark or average; None where there is none."""
    return next((x for x in found.on(key) if x.label == row.label), None)


def to_json(table: Table) -> str:
    """Everything the table holds, unrounded, with what each seed scored."""
    return json.dumps(asdict(table), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def print_table(table: Table, console: "Console | None" = None) -> None:
    """Print the table; a grid too wide for the terminal is printed in parts."""
    show(document(table), console)


def show(document: Document, console: "Console | None" = None) -> None:
    """Print a document; a grid too wide for the terminal is printed in parts."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as Grid

    console = console or Console()
    console.print(_text(document.title, "bold"))
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim")
    for name, text in document.facts.items():
        grid.add_row(_text(name), _text(text))
    console.print(Padding(grid, (0, 0, 0, 2)))
    for section in document.sections:
        console.print()
        if section.heading:
            console.print(_text(section.heading, "bold"))
        for lines in _fitted(section, console.width - 2):
            for number, line in enumerate(lines):
                style = "bold" if number == 0 else "dim" if number == 1 else ""
                console.print(_text("  " + line, style), no_wrap=True, soft_wrap=False)
            console.print()
        for note in section.notes:
            console.print(Padding(_text(note, "dim"), (0, 0, 0, 2)))


def _text(text: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(printable(text), style=style)


def _grid(section: Section) -> Iterable[str]:
    rules = ["---" if i < section.names else "--:" for i in range(len(section.header))]
    for row in (section.header, rules, *section.rows):
        yield "| " + " | ".join(map(in_markdown, row)) + " |"


def _fitted(section: Section, width: int) -> list[list[str]]:
    """The grid as lines of text, `±` set tight or the columns split if it is too wide."""
    if not section.rows:
        return []
    names = section.names
    rows = [[printable(text) for text in row] for row in (section.header, *section.rows)]
    columns = _aligned(rows, names)
    if sum(len(column[0]) + 2 for column in columns) - 2 > width:
        columns = _aligned([[text.replace(" ± ", "±") for text in row] for row in rows], names)
    left = sum(len(column[0]) + 2 for column in columns[:names]) - 2
    parts: list[list[list[str]]] = [[]]
    room = width - left
    for column in columns[names:]:
        needed = len(column[0]) + 2
        if parts[-1] and needed > room:
            parts.append([])
            room = width - left
        parts[-1].append(column)
        room -= needed
    return [_lines([*columns[:names], *part]) for part in parts]


def _lines(columns: list[list[str]]) -> list[str]:
    header, *body = ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
    width = sum(len(column[0]) + 2 for column in columns) - 2
    return [header, "─" * width, *body]


def _aligned(rows: Iterable[Iterable[str]], names: int) -> list[list[str]]:
    """The columns of a grid, each padded to one width: names to the left, figures to the right.

    Figures line up at the end of the number; what follows it (a deviation, a footnote's mark)
    hangs behind.
    """
    columns = []
    for number, (header, *texts) in enumerate(zip(*rows, strict=True)):
        if number >= names:
            tails = [tail(text) for text in texts]
            longest = max(map(len, tails))
            texts = [
                text + " " * (longest - len(tail)) for text, tail in zip(texts, tails, strict=True)
            ]
        width = max(map(len, (header, *texts)))
        pad = str.ljust if number < names else str.rjust
        columns.append([pad(text, width) for text in (header, *texts)])
    return columns
