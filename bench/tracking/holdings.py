"""What the tracking store holds, as plain data: what reports are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Unfinished:
    """A run that has no result.

    Attributes:
        run_id: the store's.
        name: what the store calls it, e.g. `hyplora K=1 seed 0`.
        identity: of the run.
        status: MLflow's: `FAILED`, `KILLED`, `RUNNING` or `SCHEDULED`.
        reason: why, in one line; empty where the store does not say.
        parent: the id of the sweep that it belongs to.
        options: of its method, by name, as the store writes them: all text.
    """

    run_id: str
    name: str
    identity: str
    status: str
    reason: str
    parent: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Unreadable:
    """A finished run whose record is gone or damaged; `why` in one line."""

    run_id: str
    name: str
    where: str
    why: str


@dataclass(frozen=True)
class SweepRun:
    """The run that stands for a sweep.

    Attributes:
        run_id: the store's; the sweep's runs name it as their parent.
        name: of its table, e.g. `table2`.
        status: MLflow's.
        ended: milliseconds since the epoch; when it began, where it has not ended.
        remarks: lines that it set under its table.
        identities: of the runs of its table, row by row; empty where it made none.
    """

    run_id: str
    name: str
    status: str
    ended: int
    remarks: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """The newest measurement of its kind that is no run.

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
        records: of finished runs, the newest first, each identity once (a run that was forced again
            counts by its newest). Each is its `record.json` with `ended` (milliseconds since the
            epoch) and `parent` (the sweep's run id, or None) added.
        superseded: finished runs that were left out for a newer one of the same identity.
        unfinished: runs without a result, of identities that no finished run has.
        unreadable: finished runs whose record can't be read.
        sweeps: the runs that stand for sweeps, the newest first.
        measurements: by kind.
        pretrainings: records of finished pretraining runs, likewise.
    """

    records: tuple[dict[str, Any], ...] = ()
    superseded: int = 0
    unfinished: tuple[Unfinished, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    sweeps: tuple[SweepRun, ...] = ()
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    pretrainings: tuple[dict[str, Any], ...] = ()
