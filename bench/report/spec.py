"""What a sweep file says about its table or its report on pretraining runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from bench.errors import unknown

# Each is a file of bench/report/figures/.
FIGURES = ("accuracy", "cost", "curvature", "differences", "gates", "training")
LISTS = ("outside_averages", "comparisons", "figures", "remarks")
PAIR = "{row: hyplora, reference: lora}"
PAIR_KEYS = {"row", "reference", "about", "option"}
AVERAGES = ("micro", "macro")
ROWS_BY = ("settings", "method")
TWINS = {
    "helm_d": ("llama_twin", "llama_twin_matched"),
    "helm_mice": ("deepseek_twin", "deepseek_twin_matched"),
}


@dataclass(frozen=True)
class _Spec:
    """What both kinds have in common.

    Attributes:
        name: stem of the files that are written, e.g. `table2`.
        title: heading of the table or report.

    Raises:
        ValueError: a field has an unusable value; the message names the allowed ones.
    """

    name: str
    title: str

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ValueError(f"{self.name}: {problem}")

    def _problem(self) -> str:
        usable = isinstance(self.name, str) and re.fullmatch(r"[\w-][\w.-]*", self.name)
        return "" if usable else "name is for files: use letters, digits, '_', '-', e.g. table2"

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read the mapping of a sweep file.

        Raises:
            ValueError: a key is missing, is not one of this class's fields, or has a bad value.
        """
        if not isinstance(mapping, Mapping):
            raise ValueError(f"expected a mapping with name and title, got {mapping!r}")
        allowed = [known.name for known in fields(cls)]
        for key in mapping.keys() - set(allowed):
            raise unknown("key", str(key), allowed)
        missing = [key for key in ("name", "title") if not mapping.get(key)]
        if missing:
            raise ValueError(f"{' and '.join(missing)} must be given, got {dict(mapping)}")
        # An empty key of YAML is None.
        return cls(**{key: value for key, value in mapping.items() if value is not None})


@dataclass(frozen=True)
class PretrainingSpec(_Spec):
    """The `pretraining:` mapping of a sweep file.

    Attributes:
        twins: by model the Euclidean ones that it is compared with; a single one may be a name.
        published: stem of the file in results/published to show with it, or None.
    """

    twins: Mapping[str, str | Sequence[str]] = field(default_factory=lambda: dict(TWINS))
    published: str | None = None
    place = 99  # after all tables

    def _problem(self) -> str:
        if not isinstance(self.twins, Mapping):
            return f"twins is {self.twins!r}, but it names models: {{helm_d: [llama_twin]}}"
        for model, twins in self.twins.items():
            if not isinstance(twins, str | list | tuple):
                return f"twins.{model} is {twins!r}, but it names models: [llama_twin]"
        return super()._problem()

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each model with each of its twins."""
        return [
            (model, twin)
            for model, twins in self.twins.items()
            for twin in ([twins] if isinstance(twins, str) else twins)
        ]


@dataclass(frozen=True)
class TableSpec(_Spec):
    """The `table:` mapping of a sweep file.

    Attributes:
        note: the table's place in the paper, e.g. `the camera-ready's Tables 3 and 8`.
        outside_averages: keys of benchmarks that are shown but left out of micro and macro.
        judged_by: the average that methods are judged by: `micro`, all items together, or `macro`,
            the plain mean of the sets.
        published: stem of the file in results/published to compare with, or None.
        apart: options of the methods that make rows of their own: for each option the values that
            a label names, by that name. Values without a name are the default, and not named.
        rows_by: `settings`, a row for each setting; or `method`, if each seed of a method has the
            settings that a search of its own has found.
        comparisons: the family of comparisons: for each the methods of `row` and `reference`, which
            agree in all other options, and optionally what it is `about`; with an `option`, a name
            of `apart`, the row has that option and the reference has not. Empty: each row vs. LoRA.
        figures: those of the table, from `FIGURES`.
        remarks: notes printed first below the table.
        place: in a report of several tables: the smaller, the earlier.
    """

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
        super().__post_init__()
        for name in LISTS:
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def _problem(self) -> str:
        for name in LISTS:
            if not isinstance(value := getattr(self, name), list | tuple):
                return f"{name} is {value!r}, but it is a list: write [{value}]"
        for pair in self.comparisons:
            if not _is_pair(pair):
                return f"comparisons has {pair!r}, but each names two methods: {PAIR}"
        apart = self.apart.items() if isinstance(self.apart, Mapping) else [("OPTION", self.apart)]
        for option, values in apart:
            if not isinstance(values, Mapping):
                example = f"{option}: {{down_proj alone: [down_proj]}}"
                return f"apart.{option} is {values!r}, but it names values: {example}"
        names = [name for _, values in apart for name in values]
        options = [pair["option"] for pair in self.comparisons if "option" in pair]
        for kind, value, allowed in (
            *(("comparisons: option", option, names) for option in options),
            ("judged_by", self.judged_by, AVERAGES),
            ("rows_by", self.rows_by, ROWS_BY),
            *(("figures", figure, FIGURES) for figure in self.figures),
        ):
            if value not in allowed:
                return f"{kind}: {value!r} is unknown, allowed: {', '.join(allowed) or 'none'}"
        if not isinstance(self.place, int):
            return f"place is {self.place!r}, but it is a number"
        return super()._problem()


Spec = TableSpec | PretrainingSpec


def _is_pair(found: Any) -> bool:
    if not isinstance(found, Mapping) or not all(isinstance(v, str) for v in found.values()):
        return False
    named = {"row", "reference"} <= found.keys() <= PAIR_KEYS
    return named and (found["row"] != found["reference"] or "option" in found)
