"""What a sweep file says about its table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

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
        published: Stem of the file in results/published to compare with, or None.

    Raises:
        ValueError: A field has a value that cannot be used; the message says what can.
    """

    name: str
    title: str
    note: str = ""
    metric: str = "accuracy"
    outside_averages: tuple[str, ...] = ()
    published: str | None = None

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
        if isinstance(self.outside_averages, str):
            raise ValueError(
                f"table {self.name}: outside_averages is {self.outside_averages!r}, but it is a "
                f"list: write [{self.outside_averages}]"
            )
        if self.published and self.metric != "accuracy":
            raise ValueError(
                f"table {self.name}: published figures are accuracies, metric is {self.metric!r}: "
                "write metric: accuracy, or published: null"
            )
        object.__setattr__(self, "outside_averages", tuple(self.outside_averages or ()))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "TableSpec":
        """Read the `table:` mapping of a sweep file.

        Raises:
            ValueError: A key is missing, is not one of this class's fields, or has a bad value.
        """
        allowed = [field.name for field in fields(cls)]
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
