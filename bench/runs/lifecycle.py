"""A run is looked up, locked, attempted and recorded; fine-tuning and pretraining alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.config import PROJECT, TrackingSettings
from bench.files import write_json
from bench.runs.attempt import attempt, empty_folder
from bench.tracking.backend import without_password
from bench.tracking.note import run_note
from bench.tracking.record import PRETRAIN, params
from bench.tracking.store import Store

Record = dict[str, Any]


@dataclass(frozen=True)
class RecordedRun:
    """A run as its record identifies it.

    Attributes:
        name: in progress, messages and the tracking store.
        identity: hash of everything that can change its result.
        hashes: content hashes that the identity depends on.
        settings: as recorded, plain data without passwords.
        tracking: where it is recorded.
        force: run it although it is cached.
        names: keys of the record that name things and are no part of the identity; a cached record
            takes today's.
        kind: of the run in the store; None for fine-tuning.
        complete: whether a finished run's record has everything that is asked for.
    """

    name: str
    identity: str
    hashes: dict[str, str]
    settings: dict[str, Any]
    tracking: TrackingSettings
    force: bool
    names: dict[str, Any] = field(default_factory=dict)
    kind: str | None = None
    complete: Callable[[Mapping[str, Any]], bool] = lambda record: True

    @property
    def folder(self) -> Path:
        """results/runs/<id>/."""
        return self.tracking.results / "runs" / self.identity[:12]


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `found`: it was cached and nothing was run."""

    name: str
    found: bool
    record: Record
    folder: Path


def open_store(tracking: TrackingSettings) -> Store:
    """The tracking store that runs are recorded in."""
    return Store(tracking.results, tracking.uri, tracking.experiment)


def cached(run: RecordedRun, store: Store, began: float | None = None) -> Outcome | None:
    """The finished run with the same identity, if it is complete.

    Args:
        run: the run.
        store: where it is recorded.
        began: when the command began, in seconds since the epoch. Under `force` only a run that
            finished later counts, so that a command runs each different run once; with None none
            counts.
    """
    run_id = _finished(run, store, began)
    if run_id is None:
        return None
    record = store.record(run_id) | run.names
    return Outcome(run.name, True, record, run.folder) if run.complete(record) else None


def _finished(run: RecordedRun, store: Store, began: float | None) -> str | None:
    since = began if run.force else 0.0
    return None if since is None else store.finished(run.identity, since)


def run_once(
    run: RecordedRun,
    work: Callable[[], Record],
    check: Callable[[], None],
    began: float | None = None,
    extend: Callable[[Store, str], Record] | None = None,
) -> Outcome:
    """Do a run's work and record it, unless it is cached.

    Args:
        run: the run.
        work: does everything; returns what its kind of run records. Called with the folder locked,
            it resumes from the files that an earlier attempt left there.
        check: refuses what can't be run, before the folder is made.
        began: as for `cached`.
        extend: completes the record of a finished run, by its id in the store; returns the record.

    Raises:
        InputError: the run can't be done as asked.
        Exception: from `work`; the run is recorded as failed, with the reason.
    """
    store = open_store(run.tracking)
    if outcome := cached(run, store, began):
        return outcome
    check()
    run.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(run.folder / "lock"):
        # Another process may have finished it while this one waited for the lock.
        if outcome := cached(run, store, began):
            return outcome
        if extend and (run_id := _finished(run, store, began)):
            return Outcome(run.name, True, extend(store, run_id) | run.names, run.folder)
        if run.force and (run.folder / "record.json").exists():
            empty_folder(run.folder)
        name = f"{run.name} {run.identity[:6]}"  # runs that differ in an option share a name
        run_id = store.start(
            run.identity, name, params(run.settings), run.tracking.parent, run.kind
        )
        with attempt(store, run_id, run.folder):
            record = _record(run, run_id, work())
            write_json(run.folder / "record.json", record)
            note = "" if run.kind == PRETRAIN else run_note(record, run.folder)
            store.finish(run_id, record, run.folder, note)
    return Outcome(run.name, False, record, run.folder)


def _record(run: RecordedRun, run_id: str, found: Record) -> Record:
    from bench.models.loading import pick_device
    from bench.tracking.provenance import device_name, git_state, package_versions

    return {
        **({"kind": run.kind} if run.kind else {}),
        "identity": run.identity,
        "run_id": run_id,
        **run.names,
        **found,
        "config": run.settings,
        "hashes": run.hashes,
        "versions": package_versions(),
        "git": git_state(PROJECT),
        "device": device_name(pick_device()),
    }


def recorded_settings(run: Any) -> dict[str, Any]:
    """A run's settings as they are recorded: plain data, without the store's password."""
    settings = asdict(run)
    settings["tracking"]["uri"] = without_password(run.tracking.uri)
    return settings
