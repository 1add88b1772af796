"""The tracking store: MLflow on sqlite in the results folder, on PostgreSQL, or behind a server.

The record of a run (`record.json`, metrics, parameters, predictions, adapter) is complete: every
table can be made again from the store alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from bench.errors import Failure, disk_is_full, printable, without_secrets
from bench.files import as_json
from bench.tracking.backend import NothingRecorded, cause_of, open_experiment, patience
from bench.tracking.record import metric_name, metrics, tags
from bench.tracking.sweeps import SWEEP_FILE, SweepRecord

__all__ = [
    "BEGAN",
    "FAILURE",
    "NOTE",
    "PARENT",
    "Attempt",
    "NothingRecorded",
    "Store",
    "Unreachable",
]

PARAM_CHARACTERS = 6000  # MLflow's limit for the value of a parameter
PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"
FAILURE, BEGAN = "failure", "began"  # tags: the traceback; when the run was last started
SWEEPS = "sweeps"  # tag: the names of the sweeps that a run is part of
FILES = ("predictions.jsonl", "record.json")
# Metrics of a run by what `timings` calls them.
TIMED = {
    "finetune": "seconds/finetune",
    "evaluate": "seconds/evaluate",
    "trained": "rows/trained",
    "asked": "rows/asked",
}

P = ParamSpec("P")
T = TypeVar("T")
Figures = Iterable[tuple[str, float]]


@dataclass(frozen=True)
class Attempt:
    """The newest run of an identity: MLflow's status, when it was last started, why it failed."""

    run_id: str
    status: str
    began: str
    failure: str


class Unreachable(Failure):
    """The tracking store can't be used."""


def reported(method: Callable[P, T]) -> Callable[P, T]:
    """Turn an error of the store, such as a server that is gone, into a message in one line."""

    @wraps(method)
    def call(*args: P.args, **named: P.kwargs) -> T:
        from mlflow import MlflowException
        from requests import RequestException

        try:
            return method(*args, **named)
        except (MlflowException, RequestException) as error:
            if disk_is_full(error):
                raise
            raise Unreachable(
                f"the tracking store can't be used: {cause_of(error)}. What was finished is kept "
                "in the results folder: the same command, without force, records it and continues; "
                "or action=import action.folder=results/runs/ID records a run's result"
            ) from error

    return call


class Store:
    """One MLflow experiment."""

    def __init__(self, folder: Path, uri: str | None, experiment: str, create: bool = True) -> None:
        """Open it; see `open_experiment`."""
        from mlflow.utils.file_utils import local_file_uri_to_path
        from mlflow.utils.uri import is_local_uri

        self.client, found = open_experiment(folder, uri, experiment, create)
        self.uri, self.experiment = self.client.tracking_uri, found.experiment_id
        place = found.artifact_location
        # The folder of all runs' files; None if a server has them.
        self.artifacts = Path(local_file_uri_to_path(place)) if is_local_uri(place) else None

    def finished(self, identity: str, since: float = 0.0) -> str | None:
        """The id of the newest run with this identity that finished after `since`, or None."""
        ended = f"attributes.end_time >= {round(since * 1000)}"
        run = self._newest(identity, f" and attributes.status = 'FINISHED' and {ended}")
        return run.info.run_id if run else None

    def attempt(self, identity: str) -> Attempt | None:
        """The newest run with this identity, finished or not; None if there is none."""
        run = self._newest(identity)
        if run is None:
            return None
        found = run.data.tags
        began, failure = found.get(BEGAN, ""), found.get(FAILURE, "")
        return Attempt(run.info.run_id, run.info.status, began, failure)

    def timings(self, tags: Mapping[str, str], count: int) -> list[dict[str, float]]:
        """How long the newest finished runs with these tags took, in seconds, for how many rows.

        Returns:
            For each run `finetune`, `evaluate` and `total` seconds, and the rows `trained` (once
            per epoch) and `asked`; runs that were resumed are left out.
        """
        found = []
        for run in self._ended([f"tags.{key} = '{value}'" for key, value in tags.items()], count):
            start, end = run.info.start_time / 1000, run.info.end_time / 1000
            if float(run.data.tags.get(BEGAN, 0)) <= start + 5:
                values = {key: run.data.metrics.get(name, 0.0) for key, name in TIMED.items()}
                found.append(values | {"total": end - start})
        return found

    def finished_like(self, beginning: str) -> dict[str, str]:
        """Finished runs whose identity begins like this, or that have this id in the store.

        Returns:
            Identities by run id, the newest first: up to 1,000, of each identity the newest alone.
        """
        runs = self._ended([f"tags.identity LIKE '{beginning}%'"])
        runs = runs or self._ended([f"attributes.run_id = '{beginning}'"])
        newest: dict[str, str] = {}
        for run in runs:
            identity = run.data.tags.get("identity", "sweep")
            if not identity.startswith("sweep"):
                newest.setdefault(identity, run.info.run_id)
        return {run_id: identity for identity, run_id in newest.items()}

    def began(self, run_id: str) -> float | None:
        """When a run was first started, in seconds since the epoch; None if there is none."""
        from mlflow import MlflowException

        with suppress(MlflowException):
            return float(self.client.get_run(run_id).info.start_time) / 1000
        return None

    def record(self, run_id: str) -> dict[str, Any]:
        """The record of a finished run.

        Raises:
            Failure: the store has the run, but its record is gone or damaged.
        """
        try:
            return self.read_json(run_id, "record.json")
        except (OSError, ValueError) as error:
            raise Failure(
                f"the record of a finished run can't be read: {error}. The same command with "
                "force=true runs it again"
            ) from error

    def predictions(self, run_id: str) -> list[dict[str, Any]]:
        """A run's predictions.jsonl, line by line; empty if the file is gone."""
        lines: list[dict[str, Any]] = []
        with suppress(ValueError, RecursionError):  # nothing after a damaged line is read
            for line in (self.file(run_id, "predictions.jsonl") or b"").splitlines():
                lines.append(json.loads(line))
        return lines

    def file(self, run_id: str, name: str) -> bytes | None:
        """A file of a run; None if it can't be read."""
        with suppress(OSError):
            return self.read(run_id, name)
        return None

    def read(self, run_id: str, name: str) -> bytes:
        """A file of a run.

        Raises:
            OSError: it can't be read; `FileNotFoundError` if it is gone from a local folder.
        """
        if self.artifacts:
            return (self.artifacts / run_id / "artifacts" / name).read_bytes()
        from mlflow import MlflowException

        with tempfile.TemporaryDirectory() as scratch:
            try:
                return Path(self.client.download_artifacts(run_id, name, scratch)).read_bytes()
            except MlflowException as error:
                raise OSError(f"{name} of the run {run_id}: {error}") from error

    def read_json(self, run_id: str, name: str) -> Any:
        """The content of a run's JSON file.

        Raises:
            OSError, ValueError: it can't be read, as `read`.
        """
        try:
            return json.loads(self.read(run_id, name))
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error

    def download(self, run_id: str, name: str, folder: Path) -> Path:
        """Fetch a file or folder of a run into a folder.

        Raises:
            Failure: it is gone, or can't be read.
        """
        from mlflow import MlflowException

        try:
            return Path(self.client.download_artifacts(run_id, name, str(folder)))
        except (OSError, MlflowException) as error:
            raise Failure(f"{name} of the run {run_id} can't be fetched: {error}") from error

    @reported
    def start(
        self,
        identity: str,
        name: str,
        params: Mapping[str, Any],
        parent: str | None = None,
        kind: str | None = None,
        began: int | None = None,
    ) -> str:
        """Start a run, or resume the newest one with this identity that did not finish.

        Args:
            identity: of the run.
            name: in the dashboard.
            params: its configuration, flat; what is logged already does not change.
            parent: the id of the sweep that the run belongs to.
            kind: of the run; None for fine-tuning.
            began: of an imported run, milliseconds since the epoch; it is a run of its own.
        """
        resumed = None
        if began is None:
            resumed = self._newest(identity, " and attributes.status != 'FINISHED'")
        given = {"identity": identity, **({"kind": kind} if kind else {})}
        run_id = self._begin(resumed or self._create(name, given, began), params)
        if parent:
            self.adopt(run_id, parent)
        return run_id

    @reported
    def finish(
        self,
        run_id: str,
        record: Mapping[str, Any],
        folder: Path,
        note: str = "",
        ended: int | None = None,
    ) -> None:
        """Store the record and the files in a run's folder, and then mark the run as finished.

        `note` is Markdown for the dashboard; an imported run `ended` milliseconds since the epoch.
        """
        for name in FILES:
            if (folder / name).is_file():
                with patience(folder / name):
                    self.client.log_artifact(run_id, str(folder / name))
        if (folder / "adapter").is_dir():
            with patience(folder / "adapter"):
                self.client.log_artifacts(run_id, str(folder / "adapter"), "adapter")
        found = tags(record) | _sweeps_tag(record) | ({NOTE: note} if note else {})
        self._log(run_id, metrics(record), found)
        self.client.set_terminated(run_id, "FINISHED", ended)

    @reported
    def amend(self, run_id: str, record: Path, figures: Figures = ()) -> None:
        """Replace the record.json of a finished run by one with more in it; adds metrics."""
        self.client.log_artifact(run_id, str(record))
        content = json.loads(record.read_text(encoding="utf-8"))
        named = [(metric_name(name), value) for name, value in figures]
        self._log(run_id, named, _sweeps_tag(content))

    def fail(self, run_id: str, status: str, reason: str) -> None:
        """Mark a run as FAILED or KILLED, with the reason.

        If that can't be written (the disk is full) it is printed: the caller raises what made the
        run fail.
        """
        try:
            shown = printable(reason)[-PARAM_CHARACTERS:]
            self.client.set_tag(run_id, FAILURE, shown)
            self.client.set_terminated(run_id, status)
        except Exception as error:
            why = without_secrets(cause_of(error))
            print(f"the failure could not be recorded: {why}", file=sys.stderr)

    def sweep(self, identity: str, name: str, params: Mapping[str, Any]) -> str:
        """Start, or continue, the run that represents a sweep, the parent of the sweep's runs."""
        given = {"identity": identity, "kind": "sweep"}
        return self._begin(self._newest(identity) or self._create(name, given), params)

    @reported
    def keep_sweeps(self, run_id: str, sweeps: Iterable[SweepRecord]) -> None:
        """Write what a sweep asked for, one record per question, into sweep.json of its run."""
        text = as_json([sweep.to_json() for sweep in sweeps])
        self.client.log_text(run_id, text, SWEEP_FILE)

    @reported
    def finish_sweep(
        self,
        run_id: str,
        figures: Mapping[str, float],
        files: Iterable[Path],
        remarks: Sequence[str],
        failure: str,
    ) -> None:
        """Close a sweep's own run, with metrics, files and remarks; `failure` may be empty."""
        for path in files:
            self.client.log_artifact(run_id, str(path))
        self._log(run_id, figures.items(), {NOTE: "\n\n".join(remarks)} if remarks else {})
        if failure:
            self.fail(run_id, "FAILED", failure)
        else:
            self.client.set_terminated(run_id, "FINISHED")

    def adopt(self, run_id: str, parent: str) -> None:
        """Make a run the child of a sweep, unless it is one already."""
        if PARENT not in self.client.get_run(run_id).data.tags:
            self.client.set_tag(run_id, PARENT, parent)

    @reported
    def keep(
        self,
        kind: str,
        content: Mapping[str, Any],
        figures: Mapping[str, float],
        tags: Mapping[str, str],
        files: Iterable[Path] = (),
        name: str | None = None,
    ) -> str:
        """Record a measurement, which is no run; returns its id.

        The content is kept as <kind>.json, its tables and figures in the folder report/. Of one
        name, by default the kind, the newest counts.
        """
        run_id = self._create(name or kind, {"kind": kind, **tags}).info.run_id
        self._log(run_id, figures.items())
        self.client.log_text(run_id, as_json(content), f"{kind}.json")
        for path in files:
            self.client.log_artifact(run_id, str(path), "report")
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def _newest(self, identity: str, condition: str = "") -> Any:
        wanted = f"tags.identity = '{identity}'{condition}"
        return next(iter(self._search(wanted, "start_time", 1)), None)

    def _ended(self, conditions: Sequence[str], count: int = 1000) -> Sequence[Any]:
        """The newest finished runs that meet all conditions."""
        wanted = " and ".join(["attributes.status = 'FINISHED'", *conditions])
        return self._search(wanted, "end_time", count)

    @reported
    def _search(self, wanted: str, newest_by: str, count: int) -> Sequence[Any]:
        order = [f"attributes.{newest_by} DESC"]
        return self.client.search_runs([self.experiment], wanted, max_results=count, order_by=order)

    def _create(self, name: str, tags: Mapping[str, str], began: int | None = None) -> Any:
        return self.client.create_run(self.experiment, began, dict(tags), name)

    def _begin(self, run: Any, params: Mapping[str, Any]) -> str:
        """Mark a run as running, and log the parameters that it lacks: they can't change."""
        from mlflow.entities import Param, RunTag

        run_id, there = run.info.run_id, run.data
        self.client.update_run(run_id, status="RUNNING")
        if FAILURE in there.tags:
            self.client.delete_tag(run_id, FAILURE)
        absent = {key: str(value) for key, value in params.items() if key not in there.params}
        self.client.log_batch(
            run_id,
            params=[Param(key, value[:PARAM_CHARACTERS]) for key, value in absent.items()],
            tags=[RunTag(BEGAN, str(time.time()))],
        )
        return run_id

    def _log(
        self,
        run_id: str,
        figures: Iterable[tuple[str, float] | tuple[str, float, int]],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log metrics, (name, value) or (name, value, step), and tags: a call takes 26 ms."""
        from mlflow.entities import Metric, RunTag

        now = round(time.time() * 1000)
        entries = [
            Metric(name, value, now, step[0] if step else 0) for name, value, *step in figures
        ]
        self.client.log_batch(run_id, entries, tags=[RunTag(*tag) for tag in (tags or {}).items()])


def _sweeps_tag(record: Mapping[str, Any]) -> dict[str, str]:
    names = dict.fromkeys(str(found["sweep"]) for found in record.get("sweeps", ()))
    return {SWEEPS: printable(", ".join(names))} if names else {}
