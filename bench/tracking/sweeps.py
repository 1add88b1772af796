"""What a sweep asked for: its table, rows, runs and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SweepRow:
    """A row of a sweep's table.

    Attributes:
        key: digest of all settings of its runs except the seed.
        label: what the table calls it.
        method: its method, or the model of a pretraining run.
        curvature: K, `auto`, or None.
    """

    key: str
    label: str
    method: str
    curvature: float | str | None = None


@dataclass(frozen=True)
class SweepMember:
    """A run of a sweep: its identity, the key of its row, and its seed (None if it has none)."""

    identity: str
    row: str
    seed: int | None


@dataclass(frozen=True)
class Contrast:
    """A comparison asked for: one row against a reference, both by key, under a heading."""

    heading: str
    row: str
    reference: str


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as it is recorded: written when it begins, updated when it ends.

    Attributes:
        name: stem of the table's files.
        kind: `finetune` or `pretrain`.
        table: the `table:` (or `pretraining:`) mapping of the sweep file.
        arguments: of the command line, passwords masked.
        rows: in the table's order.
        members: its runs.
        contrasts: in the table's order.
        remarks: notes below the table.
        created: seconds since the epoch.
    """

    name: str
    kind: str
    table: Mapping[str, Any]
    arguments: tuple[str, ...]
    rows: tuple[SweepRow, ...]
    members: tuple[SweepMember, ...]
    contrasts: tuple[Contrast, ...] = ()
    remarks: tuple[str, ...] = ()
    created: float = 0.0

    @property
    def identities(self) -> frozenset[str]:
        """Of all its runs."""
        return frozenset(member.identity for member in self.members)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SweepRecord:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError: the content is not that of a sweep.
        """
        lists = {
            "rows": tuple(SweepRow(**row) for row in content["rows"]),
            "members": tuple(SweepMember(**member) for member in content["members"]),
            "contrasts": tuple(Contrast(**found) for found in content["contrasts"]),
            "arguments": tuple(content["arguments"]),
            "remarks": tuple(content["remarks"]),
        }
        return cls(**{**content, **lists})
