"""Reads a whole experiment at once, for reports."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.progress import Progress
from bench.tracking.holdings import Holdings, Measurement, SweepRun, Unfinished, Unreadable
from bench.tracking.record import PRETRAIN
from bench.tracking.shape import incomplete
from bench.tracking.store import FAILURE, PARENT, Store
from bench.tracking.sweeps import SWEEP_FILE, SweepRecord

PAGE = 500  # runs per query; each comes with its parameters and metrics
AT_ONCE = 16  # downloads from a server
NOT_NEEDED = ("files",)  # by any table or figure
FINISHED = "FINISHED"


@dataclass(frozen=True)
class _Run:
    """What is kept of an MLflow run, whose parameters and metrics are large."""

    run_id: str
    name: str
    status: str
    began: int
    ended: int
    place: str
    tags: Mapping[str, str]

    @property
    def identity(self) -> str:
        return self.tags.get("identity", "")


class Reader:
    """Reads what a store holds; writes nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._places: dict[str, str] = {}  # by run: where its files are

    def holdings(self) -> Holdings:
        """Everything in the experiment; records that can't be read are listed, not raised."""
        found = list(self._runs())
        self._places |= {run.run_id: run.place for run in found}
        runs = [run for run in found if run.identity and run.tags.get("kind") in (None, PRETRAIN)]
        finished = [run for run in runs if run.status == FINISHED]
        finished.sort(key=lambda run: (run.ended, run.run_id), reverse=True)
        known: dict[str, _Run] = {}
        for run in finished:
            known.setdefault(run.identity, run)
        newest = list(known.values())
        records, unreadable = self._records(newest)
        done = {record["identity"] for record in records}
        unfinished = {run.identity: run for run in runs if run.status != FINISHED}
        sweeps = [run for run in found if run.tags.get("kind") == "sweep"]
        sweeps.sort(key=lambda run: run.ended, reverse=True)
        return Holdings(
            records=tuple(r for r in records if r.get("kind") != PRETRAIN),
            superseded=len(finished) - len(newest),
            unfinished=tuple(_unfinished(r) for i, r in unfinished.items() if i not in done),
            unreadable=tuple(unreadable),
            sweeps=tuple(map(self._sweep, sweeps)),
            measurements=self._measurements(found),
            pretrainings=tuple(r for r in records if r.get("kind") == PRETRAIN),
        )

    def predictions(self, run_id: str) -> list[dict[str, Any]]:
        """A run's predictions.jsonl, line by line; empty if the file is gone."""
        lines: list[dict[str, Any]] = []
        with suppress(ValueError):  # nothing after a damaged line is read
            for line in (self.file(run_id, "predictions.jsonl") or b"").splitlines():
                lines.append(json.loads(line))
        return lines

    def file(self, run_id: str, name: str) -> bytes | None:
        """A file of a run; None if it does not exist."""
        from mlflow import MlflowException

        try:
            return self._bytes(run_id, name)
        except (OSError, MlflowException):
            return None

    def _runs(self) -> Iterator[_Run]:
        """All runs by start.

        A run that starts while pages are read comes last, and moves no other to another page.
        """
        token, seen = None, set()
        while True:
            page = self.store.client.search_runs(
                [self.store.experiment],
                order_by=["attributes.start_time ASC"],
                max_results=PAGE,
                page_token=token,
            )
            for run in page:
                info = run.info
                if info.run_id not in seen:
                    seen.add(info.run_id)
                    yield _Run(
                        info.run_id, info.run_name or info.run_id, info.status, info.start_time,
                        info.end_time or info.start_time, info.artifact_uri, run.data.tags,
                    )  # fmt: skip
            token = page.token
            if not token:
                return

    def _records(self, runs: Sequence[_Run]) -> tuple[list[dict[str, Any]], list[Unreadable]]:
        """The records of finished runs in their order, and the runs that have none."""
        records, unreadable = [], []
        with Progress("reading records", total=len(runs), unit="run") as progress:
            for run, found in zip(runs, self._each(runs), strict=True):
                if isinstance(found, str):
                    unreadable.append(Unreadable(run.run_id, run.name, run.place, found))
                else:
                    records.append(found)
                progress.update(1)
        return records, unreadable

    def _each(self, runs: Sequence[_Run]) -> Iterable[dict[str, Any] | str]:
        """In parallel if a server has the files: each takes a request or two."""
        if all(_folder(run.place) for run in runs):
            yield from map(self._record, runs)
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(self._record, runs)

    def _record(self, run: _Run) -> dict[str, Any] | str:
        """A run's record; in words why there is none."""
        from mlflow import MlflowException

        try:
            record = json.loads(self._bytes(run.run_id, "record.json"))
        except FileNotFoundError:
            return "record.json is gone"
        except (OSError, ValueError, MlflowException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            return f"record.json can't be read: {reason}"
        if wrong := incomplete(record):
            return f"record.json {wrong}"
        kinds = (record.get("kind"), run.tags.get("kind"))
        if record["identity"] != run.identity or kinds[0] != kinds[1]:
            return "record.json is another run's"
        for key in NOT_NEEDED:
            record.pop(key, None)
        times = {"began": run.began, "ended": run.ended}
        return record | {"run_id": run.run_id, **times, "parent": run.tags.get(PARENT)}

    def _sweep(self, run: _Run) -> SweepRun:
        try:
            content = json.loads(self.file(run.run_id, SWEEP_FILE) or b"[]")
            sweeps = tuple(map(SweepRecord.from_json, content))
        except (ValueError, KeyError, TypeError):
            sweeps = ()
        return SweepRun(run.run_id, run.name, sweeps)

    def _measurements(self, runs: Iterable[_Run]) -> dict[str, Measurement]:
        newest: dict[str, _Run] = {}
        for run in sorted(runs, key=lambda run: run.ended):
            kind = run.tags.get("kind")
            if kind not in (None, PRETRAIN, "sweep") and run.status == FINISHED:
                newest[kind] = run
        found = {}
        for kind, run in newest.items():
            with suppress(ValueError):
                content = json.loads(self.file(run.run_id, f"{kind}.json") or b"")
                found[kind] = Measurement(kind, run.run_id, run.ended, content, run.tags)
        return found

    def _bytes(self, run_id: str, name: str) -> bytes:
        place = self._places[run_id]
        folder = _folder(place)
        if folder is not None:
            return (folder / name).read_bytes()
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with tempfile.TemporaryDirectory() as scratch:
            repository = get_artifact_repository(place, tracking_uri=self.store.uri)
            return Path(repository.download_artifacts(name, scratch)).read_bytes()


def _folder(uri: str) -> Path | None:
    """The folder of a local artifact location; None if a server has the files."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    return Path(local_file_uri_to_path(uri)) if is_local_uri(uri) else None


def _unfinished(run: _Run) -> Unfinished:
    reason = run.tags.get(FAILURE, "").strip().rpartition("\n")[2].strip()
    return Unfinished(run.run_id, run.name, run.identity, run.status, reason)
