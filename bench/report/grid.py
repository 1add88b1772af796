"""The runs that a sweep file asks for, as plain data: what a report holds its records against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report.records import SHARED, Record, training_settings
from bench.report.spec import TableSpec


@dataclass(frozen=True)
class GridRow:
    """What is run with each of a sweep's seeds.

    Attributes:
        method: its key.
        trained: whether it has a seed at all.
        arguments: of the command line, KEY=VALUE, that make it one of the sweep.
        options: of the method, as its runs record them.
        train: training settings, as its runs record them.
    """

    method: str
    trained: bool
    arguments: tuple[str, ...]
    options: Mapping[str, Any]
    train: Mapping[str, Any]

    @property
    def curvature(self) -> Any:
        """The curvature parameter K as it is recorded; None for a method that has none."""
        return self.options.get("curvature")

    def options_match(self, record: Record) -> bool:
        """Whether a run is of this row's method, with its options."""
        return record["method"] == self.method and _agree(self.options, record.get("options") or {})

    def matches(self, record: Record) -> bool:
        """Whether a run is one of this row."""
        if (record.get("seed") is not None) != self.trained or not self.options_match(record):
            return False
        settings = training_settings(record)
        settings.pop("precision", None)  # as the device gives it
        return _agree(self.train, settings)


@dataclass(frozen=True)
class Grid:
    """What a sweep file makes of one base under one preset of training settings.

    Attributes:
        sweep: stem of the file in sweeps/.
        preset: of training settings: `default`, or another file of conf/train/.
        base: the name of the base that options and learning rates are for.
        model, data, protocol, tests: what the sweep file takes where nothing else is said.
        rows: in the sweep's order; empty where they can't be counted up.
        seeds: in the sweep's order.
        seeds_first: whether the sweep runs all rows of one seed before it comes to the next.
    """

    sweep: str
    spec: TableSpec
    preset: str
    base: str
    model: str
    data: str
    protocol: str
    tests: tuple[str, ...]
    rows: tuple[GridRow, ...]
    seeds: tuple[int, ...]
    seeds_first: bool

    @property
    def total(self) -> int:
        """Number of its runs."""
        return sum(len(self.seeds) if row.trained else 1 for row in self.rows)

    @property
    def home(self) -> dict[str, Any]:
        """What a record says of a run for which nothing else was said, by its key."""
        return {
            "model": self.model,
            "data": self.data,
            "protocol": self.protocol,
            "split": SHARED["split"],
        }

    def in_order(self, found: Sequence[tuple[int, Record]]) -> list[Record]:
        """Records, each with the number of its row, as the sweep would run them."""

        def place(pair: tuple[int, Record]) -> tuple[int, int]:
            row, record = pair
            seed = record.get("seed")
            turn = self.seeds.index(seed) if seed in self.seeds else len(self.seeds) + (seed or 0)
            turn = 0 if seed is None else turn
            return (turn, row) if self.seeds_first else (row, turn)

        return [record for _, record in sorted(found, key=place)]


def _agree(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether settings are the same, but for those that only one side knows: a record of before."""
    return all(ours[key] == theirs[key] for key in ours.keys() & theirs.keys())
