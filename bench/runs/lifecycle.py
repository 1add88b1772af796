"""Looks up, locks, attempts and records a run, whether fine-tuning or pretraining."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from bench.config import PROJECT, TrackingSettings
from bench.errors import without_secrets
from bench.files import locked, write_json
from bench.runs.attempt import LOCK, attempt, empty_folder, remove_partial
from bench.tracking.note import run_note
from bench.tracking.record import PRETRAIN, params
from bench.tracking.store import Store

Record = dict[str, Any]


@dataclass(frozen=True)
class PreparedRun(ABC):
    """A run of known identity. Subclasses define its work.

    Attributes:
        settings: typed; `name`, `tracking` and `force` are used here.
        identity: hash of everything that can change the result.
        hashes: content hashes that the identity depends on.
        precision: precision of the training, resolved for the device.
        kind: kind of the run in the store; None for fine-tuning.
    """

    settings: Any
    identity: str
    hashes: dict[str, str]
    precision: str
    kind: ClassVar[str | None] = None

    @property
    def folder(self) -> Path:
        """results/runs/<id>/."""
        return self.settings.tracking.results / "runs" / self.identity[:12]

    @property
    @abstractmethod
    def names(self) -> Record:
        """Parts of the record outside the identity; a cached record takes the current values."""

    @property
    @abstractmethod
    def facts(self) -> Record:
        """What the record says about the settings, for tables."""

    @property
    def planned(self) -> Record:
        """The record, as far as it is known before the run."""
        return {
            **({"kind": self.kind} if self.kind else {}),
            "identity": self.identity,
            "hashes": self.hashes,
            **self.names,
            **self.facts,
            "config": _plain(self.settings),
            "train": asdict(self.settings.train) | {"precision": self.precision},
        }

    @abstractmethod
    def check(self) -> None:
        """Refuse what can't be run with an InputError, before a model is loaded."""

    @abstractmethod
    def work(self) -> Record:
        """Do the run, from what an earlier attempt left in its locked folder; returns results."""

    def is_complete(self, record: Mapping[str, Any]) -> bool:
        """Whether the record of a finished run has everything that is asked for."""
        return True

    def extend(self, store: Store, run_id: str) -> Record:
        """Complete the record of a finished run; returns it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `found`: it was cached and nothing was run."""

    name: str
    found: bool
    record: Record
    folder: Path


def open_store(tracking: TrackingSettings, create: bool = True) -> Store:
    """The tracking store that runs are recorded in; see `open_experiment`."""
    return Store(tracking.results, tracking.uri, tracking.experiment, create)


def cached(run: PreparedRun, store: Store, began: float | None = None) -> Outcome | None:
    """The finished run with the same identity, if its record is complete.

    The command began at `began`, in seconds since the epoch: under `force` only a run that finished
    later counts, so that a command runs each different run once; with None none counts.
    """
    run_id = _finished(run, store, began)
    if run_id is None:
        return None
    record = store.record(run_id) | run.names
    return Outcome(run.settings.name, True, record, run.folder) if run.is_complete(record) else None


def _finished(run: PreparedRun, store: Store, began: float | None) -> str | None:
    since = began if run.settings.force else 0.0
    return None if since is None else store.finished(run.identity, since)


def run_once(run: PreparedRun, began: float | None = None) -> Outcome:
    """Do a run's work and record it, unless it is cached; `began` as for `cached`.

    Raises:
        InputError: it can't be run as asked.
        Exception: any other failure; the run is recorded as failed, with the reason.
    """
    settings, store = run.settings, open_store(run.settings.tracking)
    if outcome := cached(run, store, began):
        return outcome
    run.check()
    run.folder.mkdir(parents=True, exist_ok=True)
    with locked(run.folder / LOCK, f"the run {settings.name}"):
        remove_partial(run.folder)
        # Another process may have finished it while this one waited for the lock.
        if outcome := cached(run, store, began):
            return outcome
        if run_id := _finished(run, store, began):
            record = run.extend(store, run_id) | run.names
            return Outcome(settings.name, True, record, run.folder)
        last = store.attempt(run.identity)
        # Else the folder has the results of an attempt that could not be recorded.
        recorded = last is None or last.status == "FINISHED"
        if settings.force and recorded and (run.folder / "record.json").exists():
            empty_folder(run.folder)
        name = f"{settings.name} {run.identity[:6]}"  # runs that differ in an option share a name
        shown, parent = params(_plain(settings)), settings.tracking.parent
        run_id = store.start(run.identity, name, shown, parent, run.kind)
        with attempt(store, run_id, run.folder):
            record = _record(run, run_id, run.work())
            write_json(run.folder / "record.json", record)
            note = "" if run.kind == PRETRAIN else run_note(record, run.folder)
            store.finish(run_id, record, run.folder, note)
    return Outcome(settings.name, False, record, run.folder)


def _record(run: PreparedRun, run_id: str, results: Record) -> Record:
    from bench.models.loading import pick_device
    from bench.tracking.provenance import device_name, git_state, package_versions

    return {
        **run.planned,
        "run_id": run_id,
        **results,
        "versions": package_versions(),
        "git": git_state(PROJECT),
        "device": device_name(pick_device()),
    }


def _plain(settings: Any) -> Record:
    """Settings as nested dictionaries, without the store's password."""
    plain = asdict(settings)
    plain["tracking"]["uri"] = without_secrets(settings.tracking.uri)
    return plain
