"""What a sweep asked for: its table, rows, runs and comparisons."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SWEEP_FILE = "sweep.json"  # of the run that represents a sweep


@dataclass(frozen=True)
class SweepRow:
    """A row of a sweep's table.

    Attributes:
        key: digest of all settings of its runs except the seed.
        label: its label in the table.
        method: its method, or the model of a pretraining run.
        curvature: K, `auto`, or None.
        details: what the label says about it beyond method and K.
        options: rows are compared with a reference that agrees in these.
        tuning: how its learning rate was chosen: `file` in tuning/, number of `tries`, their
            `seeds`, and of a grid whether the chosen rate is `interior`; None if it was not tuned.
    """

    key: str
    label: str
    method: str
    curvature: float | str | None = None
    details: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SweepMember:
    """A run of a sweep: its identity, the key of its row, and its seed (None if it has none)."""

    identity: str
    row: str
    seed: int | None


@dataclass(frozen=True)
class Contrast:
    """A comparison asked for: one row against a reference, both by key.

    `heading` is what it is about, as the sweep file declares it, or e.g. `vs. LoRA`.
    """

    heading: str
    row: str
    reference: str


@dataclass(frozen=True)
class SweepRecord:
    """What a sweep asked for, about one question: written when it begins, updated when it ends.

    Attributes:
        name: stem of the table's files.
        kind: `finetune` or `pretrain`.
        table: the `table:` (or `pretraining:`) mapping of the sweep file.
        arguments: arguments of the command line, with passwords masked.
        rows: in the table's order.
        members: its runs.
        contrasts: in the table's order.
        remarks: notes below the table.
        created: seconds since the epoch.
        question: what all its runs were trained and tested on, by name.
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
    question: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identities(self) -> frozenset[str]:
        """The identities of all its runs."""
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
        rows = [{**row, "details": tuple(row["details"])} for row in content["rows"]]
        lists = {
            "rows": tuple(SweepRow(**row) for row in rows),
            "members": tuple(SweepMember(**member) for member in content["members"]),
            "contrasts": tuple(Contrast(**found) for found in content["contrasts"]),
            "arguments": tuple(content["arguments"]),
            "remarks": tuple(content["remarks"]),
        }
        return cls(**{**content, **lists})


def sweep_identity(name: str, keys: Iterable[str]) -> str:
    """The identity of a sweep's own run, from the identities of its runs or its studies' names."""
    digest = hashlib.sha256("\n".join([name, *sorted(keys)]).encode()).hexdigest()
    return f"sweep-{digest}"
