"""What the tracking store holds, as plain data: what reports are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.tracking.sweeps import SweepRecord


@dataclass(frozen=True)
class Unfinished:
    """A run without a result.

    Attributes:
        run_id: the store's.
        name: in the store, e.g. `hyplora K=1 seed 0`.
        identity: of the run.
        status: MLflow's: `FAILED`, `KILLED`, `RUNNING` or `SCHEDULED`.
        reason: why, in one line; empty if the store does not say.
    """

    run_id: str
    name: str
    identity: str
    status: str
    reason: str


@dataclass(frozen=True)
class Unreadable:
    """A finished run whose record is gone or damaged; `why` in one line."""

    run_id: str
    name: str
    where: str
    why: str


@dataclass(frozen=True)
class SweepRun:
    """The run that represents a sweep.

    Attributes:
        run_id: the store's; the sweep's runs name it as their parent.
        name: of the sweep, e.g. `table2`.
        sweeps: what it asked for, one record per question; empty if it makes no table.
    """

    run_id: str
    name: str
    sweeps: tuple[SweepRecord, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """The newest measurement of its kind; it is no run.

    Attributes:
        kind: `efficiency`, `embeddings`, ...
        run_id: the store's.
        ended: milliseconds since the epoch.
        content: its JSON artifact <kind>.json.
        tags: the store's, by name.
    """

    kind: str
    run_id: str
    ended: int
    content: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Holdings:
    """All of one experiment.

    Attributes:
        records: of finished runs, the newest first, each identity once (of a run that was forced
            again the newest counts). Each is its `record.json` with `began` and `ended`
            (milliseconds since the epoch) and `parent` (the sweep's run id, or None) added.
        superseded: finished runs left out for a newer one of the same identity.
        unfinished: runs without a result, of identities that have no finished run.
        unreadable: finished runs whose record can't be read.
        sweeps: the runs that represent sweeps, the newest first.
        measurements: by kind.
        pretrainings: records of finished pretraining runs, like `records`.
    """

    records: tuple[dict[str, Any], ...] = ()
    superseded: int = 0
    unfinished: tuple[Unfinished, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    sweeps: tuple[SweepRun, ...] = ()
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    pretrainings: tuple[dict[str, Any], ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to report on."""
        runs = (self.records, self.pretrainings, self.unreadable, self.unfinished)
        return not any((*runs, self.measurements))
