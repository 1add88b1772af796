"""What a sweep file says about its table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

# Each is a file of bench/report/figures/.
FIGURES = ("accuracy", "cost", "curvature", "differences", "gates", "training")
LISTS = ("outside_averages", "figures", "remarks")
AVERAGES = ("micro", "macro")
METRICS = {"accuracy": "Accuracy", "format_rate": "Format rate"}


@dataclass(frozen=True)
class TableSpec:
    """The `table:` mapping of a sweep file, checked.

    Attributes:
        name: Stem of the files that are written, e.g. `table2`.
        title: Heading of the table.
        note: Where the table stands in the paper, e.g. `the camera-ready's Tables 3 and 8`.
        metric: The field of a score that fills the cells, in percent: a key of `METRICS`.
        outside_averages: Keys of benchmarks that are shown but left out of micro and macro.
        judged_by: The average that methods are judged by: `micro`, all items together, or `macro`,
            the plain mean of the sets.
        published: Stem of the file in results/published to compare with, or None.
        apart: Options of the methods that make rows of their own: for each option the values that
            a label names, by that name. Values without a name are the default, and not named.
        figures: Keys of `FIGURES`: pictures that go with the table.
        remarks: What a reader must know, set under the table first.
        place: Where it stands in a report of several tables: the smaller, the earlier.

    Raises:
        ValueError: A field has a value that cannot be used; the message says what can.
    """

    name: str
    title: str
    note: str = ""
    metric: str = "accuracy"
    outside_averages: tuple[str, ...] = ()
    judged_by: str = AVERAGES[0]
    published: str | None = None
    apart: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    figures: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    place: int = 50

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", str(self.name)) or str(self.name).startswith("."):
            raise ValueError(
                f"table.name is {self.name!r}, but it names files: use letters, digits, '_', '-', "
                "e.g. table2"
            )
        if not self.title:
            raise ValueError(f"table {self.name}: the title is empty; write what the table shows")
        if self.metric not in METRICS:
            raise ValueError(
                f"table {self.name}: metric is {self.metric!r}, allowed: {', '.join(METRICS)}"
            )
        if self.judged_by not in AVERAGES:
            raise ValueError(
                f"table {self.name}: judged_by is {self.judged_by!r}, allowed: "
                f"{', '.join(AVERAGES)}"
            )
        for name in LISTS:
            value = getattr(self, name)
            if isinstance(value, str):
                raise ValueError(
                    f"table {self.name}: {name} is {value!r}, but it is a list: write [{value}]"
                )
        if self.published and self.metric != "accuracy":
            raise ValueError(
                f"table {self.name}: published figures are accuracies, metric is {self.metric!r}: "
                "write metric: accuracy, or published: null"
            )
        for name in LISTS:
            object.__setattr__(self, name, tuple(getattr(self, name) or ()))
        if not isinstance(self.place, int):
            raise ValueError(f"table {self.name}: place is {self.place!r}, but it is a number")
        for option, values in self.apart.items():
            if not isinstance(values, Mapping):
                raise ValueError(
                    f"table {self.name}: apart.{option} is {values!r}, but it names values: "
                    f"{option}: {{down_proj alone: [down_proj]}}"
                )
        for figure in self.figures:
            if figure not in FIGURES:
                raise ValueError(
                    f"table {self.name}: unknown figure {figure!r}, allowed: {', '.join(FIGURES)}"
                )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "TableSpec":
        """Read the `table:` mapping of a sweep file.

        Raises:
            ValueError: A key is missing, is not one of this class's fields, or has a bad value.
        """
        allowed = [known.name for known in fields(cls)]
        for key in mapping:
            if key not in allowed:
                near = get_close_matches(str(key), allowed, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"table: unknown key {key!r}{hint} Allowed: {', '.join(allowed)}")
        missing = [key for key in ("name", "title") if not mapping.get(key)]
        if missing:
            raise ValueError(f"table: {' and '.join(missing)} must be given, got {dict(mapping)}")
        # A key left empty in YAML is None: the same as not writing it.
        return cls(**{key: value for key, value in mapping.items() if value is not None})
