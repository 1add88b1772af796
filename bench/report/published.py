"""The numbers that papers publish: one YAML file for each table, in results/published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.errors import unknown
from bench.names import key_of

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"
PARAMS = "params_percent"


@dataclass(frozen=True)
class PublishedRow:
    """One method on one base, as printed.

    Attributes:
        base: the base's name in the paper, e.g. `LLaMA3-8B`.
        method: our key of the method.
        origin: `paper`, `reproduced`, or `cited from ...`.
        values: percent by column (benchmarks, averages and `params_percent`); None if not printed.
        missing: why a column is None.
        curvature: the paper's K, in a table with several.
        reference: whether it is another model, printed for comparison.
    """

    base: str
    method: str
    origin: str
    values: dict[str, float | None]
    missing: dict[str, str] = field(default_factory=dict)
    curvature: float | None = None
    reference: bool = False


@dataclass(frozen=True)
class Footnote:
    """A remark on published numbers; an empty tuple means all."""

    text: str
    bases: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """A published table.

    Attributes:
        numbering: its number in the paper, e.g. `the camera-ready's Tables 3 and 8`.
        runs: what the paper says about runs and deviations.
        items: items of each benchmark's test set; its keys are the table's columns.
        averages: the paper's label of each average it prints, by `micro` or `macro`.
    """

    numbering: str
    runs: str
    items: dict[str, int]
    averages: dict[str, str]
    rows: tuple[PublishedRow, ...]
    footnotes: tuple[Footnote, ...] = ()

    @property
    def bases(self) -> tuple[str, ...]:
        """Bases with rows of their own, as ordered in the paper."""
        return tuple(dict.fromkeys(row.base for row in self.rows if not row.reference))

    def rows_of(self, base: str) -> tuple[PublishedRow, ...]:
        """The rows of one base, matched ignoring case."""
        return tuple(r for r in self.rows if key_of(r.base) == key_of(base) and not r.reference)


def read_published(name: str) -> dict[str, Any]:
    """The content of results/published/<name>.yaml.

    Raises:
        InputError: there is no such file.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise unknown("published numbers", name, [file.stem for file in FOLDER.glob("*.yaml")])
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def load_published(name: str) -> Published:
    """Read and check the published counterpart of a table of scores.

    Raises:
        ValueError: there is no such file, or its content is invalid.
    """
    content = read_published(name)
    try:
        return _published(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{FOLDER / name}.yaml is not a valid table: {reason}") from error


def _published(content: Mapping[str, Any]) -> Published:
    items, averages = content["items"], content["averages"]
    columns = (PARAMS, *items, *averages)
    if wrong := set(averages) - {"micro", "macro"}:
        raise ValueError(f"averages {sorted(wrong)} unknown, allowed: micro, macro")
    rows = tuple(_row(dict(row), columns) for row in content["rows"])
    known = {
        "bases": {row.base for row in rows},
        "methods": {row.method for row in rows},
        "origins": {row.origin for row in rows},
        "columns": set(columns),
    }
    footnotes = tuple(_footnote(note, known) for note in content.get("footnotes") or ())
    return Published(content["numbering"], content["runs"], items, averages, rows, footnotes)


def _row(row: dict[str, Any], columns: tuple[str, ...]) -> PublishedRow:
    who = f"row {row['base']}, {row['method']}"
    values = {column: row.pop(column) for column in columns}
    if wrong := set(row) - set(PublishedRow.__dataclass_fields__):
        raise ValueError(f"{who}: unknown {sorted(wrong)}, allowed: {', '.join(columns)}")
    found = PublishedRow(values=values, **row)
    for column, value in values.items():
        if value is None and column != PARAMS and column not in found.missing:
            raise ValueError(f"{who}: {column} is null without a reason under `missing`")
        if value is not None and not 0 <= value <= 100:
            raise ValueError(f"{who}: {column} is {value}, expected percent from 0 to 100")
    return found


def _footnote(note: Mapping[str, Any], known: Mapping[str, set[str]]) -> Footnote:
    lists = {kind: tuple(names) for kind, names in note.items() if kind != "text"}
    for kind, names in lists.items():
        # A misspelt base or column would hide the remark.
        if wrong := sorted(set(names) - known[kind]):
            raise ValueError(f"footnote names {kind} without a row: {', '.join(wrong)}")
    return Footnote(text=" ".join(note["text"].split()), **lists)
