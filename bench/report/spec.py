"""What a sweep file says about its table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from bench.errors import unknown

# Each is a file of bench/report/figures/.
FIGURES = ("accuracy", "cost", "curvature", "differences", "gates", "training")
LISTS = ("outside_averages", "comparisons", "figures", "remarks")
PAIR = "{row: hyplora, reference: lora, about: optional}"
AVERAGES = ("micro", "macro")
ROWS_BY = ("settings", "method")


@dataclass(frozen=True)
class TableSpec:
    """The `table:` mapping of a sweep file, checked.

    Attributes:
        name: stem of the files that are written, e.g. `table2`.
        title: heading of the table.
        note: the table's place in the paper, e.g. `the camera-ready's Tables 3 and 8`.
        outside_averages: keys of benchmarks that are shown but left out of micro and macro.
        judged_by: the average that methods are judged by: `micro`, all items together, or `macro`,
            the plain mean of the sets.
        published: stem of the file in results/published to compare with, or None.
        apart: options of the methods whose values make separate rows: for each option a mapping of
            names, which labels show, to values. Values without a name are the default.
        rows_by: `settings`, a row for each setting; or `method`, if each seed of a method has
            settings found by its own search.
        comparisons: the family of comparisons: for each the methods of `row` and `reference`, which
            agree in all other options, and optionally what it is `about`. Empty: each row vs. LoRA.
        figures: those of the table, from `FIGURES`.
        remarks: notes printed first below the table.
        place: position in a report of several tables, in ascending order.

    Raises:
        ValueError: a field has an unusable value; the message names the allowed ones.
    """

    name: str
    title: str
    note: str = ""
    outside_averages: tuple[str, ...] = ()
    judged_by: str = AVERAGES[0]
    published: str | None = None
    apart: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rows_by: str = ROWS_BY[0]
    comparisons: tuple[Mapping[str, str], ...] = ()
    figures: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    place: int = 50

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ValueError(f"table {self.name}: {problem}")
        for name in LISTS:
            object.__setattr__(self, name, tuple(getattr(self, name) or ()))

    def _problem(self) -> str:
        for name in LISTS:
            if isinstance(value := getattr(self, name), str):
                return f"{name} is {value!r}, but it is a list: write [{value}]"
        for pair in self.comparisons or ():
            if not _is_pair(pair):
                return f"comparisons has {pair!r}, but each names two methods: {PAIR}"
        for option, values in self.apart.items():
            if not isinstance(values, Mapping):
                example = f"{option}: {{down_proj alone: [down_proj]}}"
                return f"apart.{option} is {values!r}, but it names values: {example}"
        for kind, value, allowed in (
            ("judged_by", self.judged_by, AVERAGES),
            ("rows_by", self.rows_by, ROWS_BY),
            *(("figures", figure, FIGURES) for figure in self.figures or ()),
        ):
            if value not in allowed:
                return f"{kind}: {value!r} is unknown, allowed: {', '.join(allowed)}"
        if not re.fullmatch(r"[\w-][\w.-]*", str(self.name)):
            return "name is for files: use letters, digits, '_', '-', e.g. table2"
        return "" if isinstance(self.place, int) else f"place is {self.place!r}, but it is a number"

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TableSpec:
        """Read the `table:` mapping of a sweep file.

        Raises:
            ValueError: a key is missing, is not one of this class's fields, or has a bad value.
        """
        allowed = [known.name for known in fields(cls)]
        for key in mapping.keys() - set(allowed):
            raise unknown("key in table", str(key), allowed)
        missing = [key for key in ("name", "title") if not mapping.get(key)]
        if missing:
            raise ValueError(f"table: {' and '.join(missing)} must be given, got {dict(mapping)}")
        # An empty key of YAML is None.
        return cls(**{key: value for key, value in mapping.items() if value is not None})


def _is_pair(found: Any) -> bool:
    if not isinstance(found, Mapping) or not all(isinstance(v, str) for v in found.values()):
        return False
    named = {"row", "reference"} <= found.keys() <= {"row", "reference", "about"}
    return named and found["row"] != found["reference"]
