"""Everything in an experiment, as plain data from which reports are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench.progress import Progress
from bench.tracking.reader import FAILURE, PARENT, Reader, reported
from bench.tracking.record import PRETRAIN
from bench.tracking.schema import incomplete
from bench.tracking.sweeps import SWEEP_FILE, SweepRecord

PAGE = 500  # runs per query; each comes with its parameters and metrics
AT_ONCE = 16  # downloads from a server
FINISHED = "FINISHED"


@dataclass(frozen=True)
class Unfinished:
    """A run without a record that can be read.

    Attributes:
        run_id: its id in the store.
        name: its name in the store, e.g. `hyplora K=1 seed 0`.
        identity: the run's identity.
        status: MLflow's: `FAILED`, `KILLED`, `RUNNING`, `SCHEDULED`, or `FINISHED` if the record
            is gone or damaged.
        reason: why, in one line; empty if the store does not say.
    """

    run_id: str
    name: str
    identity: str
    status: str
    reason: str


@dataclass(frozen=True)
class SweepRun:
    """The run that represents a sweep.

    Attributes:
        run_id: its id in the store, which the sweep's runs have as their parent.
        name: name of the sweep, e.g. `table2`.
        sweeps: what it asked for, one record per question; empty if it makes no table.
    """

    run_id: str
    name: str
    sweeps: tuple[SweepRecord, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """The newest measurement of its name, which is not a run: its id and its <kind>.json."""

    kind: str
    run_id: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Contents:
    """The contents of one experiment.

    Attributes:
        records: of finished runs, the newest first, each identity once (of a run that was forced
            again the newest counts). Each is its `record.json` with `began` and `ended`
            (milliseconds since the epoch) and `parent` (the sweep's run id, or None) added.
        superseded: finished runs left out for a newer one of the same identity.
        unfinished: runs without a result, of identities that have no finished run.
        unreadable: finished runs whose record can't be read.
        sweeps: the runs that represent sweeps, the newest first.
        measurements: by name: the kind, and what makes it unlike the published one.
        pretrainings: records of finished pretraining runs, like `records`.
    """

    records: tuple[dict[str, Any], ...] = ()
    superseded: int = 0
    unfinished: tuple[Unfinished, ...] = ()
    unreadable: tuple[Unfinished, ...] = ()
    sweeps: tuple[SweepRun, ...] = ()
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    pretrainings: tuple[dict[str, Any], ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to report on."""
        runs = (self.records, self.pretrainings, self.unreadable, self.unfinished)
        return not any((*runs, self.measurements))


class _Run(NamedTuple):
    """An MLflow run without its parameters and metrics, which are large."""

    info: Any
    tags: Mapping[str, str]

    @property
    def ended(self) -> int:
        return self.info.end_time or self.info.start_time

    @property
    def kind(self) -> str | None:
        return self.tags.get("kind")

    @property
    def identity(self) -> str:
        return self.tags.get("identity", "")

    @property
    def trains(self) -> bool:
        """Whether it is a run of fine-tuning or pretraining, not a sweep or a measurement."""
        return bool(self.identity) and self.kind in (None, PRETRAIN)

    def without_record(self, reason: str) -> Unfinished:
        info = self.info
        return Unfinished(info.run_id, info.run_name, self.identity, info.status, reason)


def read_contents(store: Reader) -> Contents:
    """Everything in an experiment; records that can't be read are listed, not raised."""
    begun = list(_runs(store))
    found = sorted(begun, key=lambda run: (run.ended, run.info.run_id), reverse=True)
    finished = [run for run in found if run.trains and run.info.status == FINISHED]
    newest = {run.identity: run for run in reversed(finished)}
    records, unreadable = _records(store, [run for run in finished if newest[run.identity] is run])
    done = {record["identity"] for record in records}
    unfinished = {r.identity: r for r in begun if r.trains and r.info.status != FINISHED}
    return Contents(
        records=tuple(r for r in records if r.get("kind") != PRETRAIN),
        superseded=len(finished) - len(newest),
        unfinished=tuple(
            run.without_record(run.tags.get(FAILURE, "").strip().rpartition("\n")[2].strip())
            for identity, run in unfinished.items()
            if identity not in done
        ),
        unreadable=tuple(unreadable),
        sweeps=tuple(_sweep(store, run) for run in found if run.kind == "sweep"),
        measurements=_measurements(store, found),
        pretrainings=tuple(r for r in records if r.get("kind") == PRETRAIN),
    )


@reported
def _runs(store: Reader) -> Iterable[_Run]:
    """All runs. One that starts while pages are read comes last, and moves no other."""
    token: str | None = None
    found: dict[str, _Run] = {}
    while token is None or token:
        page = store.client.search_runs(
            [store.experiment],
            order_by=["attributes.start_time ASC"],
            max_results=PAGE,
            page_token=token,
        )
        found |= {run.info.run_id: _Run(run.info, run.data.tags) for run in page}
        token = page.token or ""
    return found.values()


def _records(store: Reader, runs: Sequence[_Run]) -> tuple[list[dict[str, Any]], list[Unfinished]]:
    """The records of finished runs in their order, and the runs that have none.

    They are read in parallel if a server has the files: each takes a request or two.
    """
    records, unreadable = [], []
    with (
        ThreadPoolExecutor(1 if store.artifacts else AT_ONCE) as pool,
        Progress("reading records", total=len(runs), unit="run") as progress,
    ):
        for found in pool.map(lambda run: _record(store, run), runs):
            if isinstance(found, Unfinished):
                unreadable.append(found)
            else:
                records.append(found)
            progress.update(1)
    return records, unreadable


def _record(store: Reader, run: _Run) -> dict[str, Any] | Unfinished:
    try:
        record = store.read_json(run.info.run_id, "record.json")
    except FileNotFoundError:
        return run.without_record("record.json is gone")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return run.without_record(f"record.json can't be read: {reason}")
    if wrong := incomplete(record):
        return run.without_record(f"record.json {wrong}")
    if (record["identity"], record.get("kind")) != (run.identity, run.kind):
        return run.without_record("record.json is another run's")
    times = {"began": run.info.start_time, "ended": run.ended}
    return record | {"run_id": run.info.run_id, **times, "parent": run.tags.get(PARENT)}


def _sweep(store: Reader, run: _Run) -> SweepRun:
    try:
        content = store.read_json(run.info.run_id, SWEEP_FILE)
        sweeps = tuple(map(SweepRecord.from_json, content))
    except (OSError, ValueError, KeyError, TypeError):
        sweeps = ()
    return SweepRun(run.info.run_id, run.info.run_name, sweeps)


def _measurements(store: Reader, runs: Iterable[_Run]) -> dict[str, Measurement]:
    """The newest of each name, if it can be read."""
    newest: dict[str, tuple[str, str]] = {}
    for run in runs:
        if run.kind not in (None, PRETRAIN, "sweep") and run.info.status == FINISHED:
            newest.setdefault(run.info.run_name, (run.kind, run.info.run_id))
    found = {}
    for name, (kind, run_id) in newest.items():
        with suppress(OSError, ValueError):
            content = store.read_json(run_id, f"{kind}.json")
            found[name] = Measurement(kind, run_id, content)
    return found
