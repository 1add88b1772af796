"""Reading of an experiment in the tracking store."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from bench.errors import Failure, disk_is_full
from bench.tracking.backend import cause_of, open_experiment

PARENT = "mlflow.parentRunId"
FAILURE, BEGAN = "failure", "began"  # tags: the traceback; when the run was last started

P = ParamSpec("P")
T = TypeVar("T")


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
                "in the results folder: the same command records it and continues; "
                "or action=import action.folder=results/runs/ID records a run's result"
            ) from error

    return call


class Reader:
    """One MLflow experiment, for reading."""

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
        runs = self._ended([f"tags.identity = '{identity}'", ended], 1)
        return runs[0].info.run_id if runs else None

    def attempt(self, identity: str) -> Attempt | None:
        """The newest run with this identity, finished or not; None if there is none."""
        run = self._newest(identity)
        if run is None:
            return None
        found = run.data.tags
        began, failure = found.get(BEGAN, ""), found.get(FAILURE, "")
        return Attempt(run.info.run_id, run.info.status, began, failure)

    def timings(self, tags: Mapping[str, str], count: int) -> list[dict[str, float]]:
        """Metrics of the newest finished runs with these tags, and their `total` seconds.

        Runs that were resumed or imported are left out.
        """
        found = []
        for run in self._ended([f"tags.{key} = {_quoted(tags[key])}" for key in tags], count):
            start, end = run.info.start_time / 1000, run.info.end_time / 1000
            if float(run.data.tags.get(BEGAN, 0)) <= start + 5:
                found.append(run.data.metrics | {"total": end - start})
        return found

    def finished_like(self, beginning: str) -> dict[str, str]:
        """Finished runs whose identity begins like this, or that have this id in the store.

        Returns:
            Identities by run id, the newest first: up to 1,000, each identity only once.
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

    @reported
    def has(self, run_id: str, name: str) -> bool:
        """Whether a run has a file or a folder of this name."""
        return any(item.path == name for item in self.client.list_artifacts(run_id))

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


def _quoted(value: str) -> str:
    """A value in a filter of MLflow's, which knows no escapes."""
    mark = '"' if "'" in value else "'"
    return f"{mark}{value}{mark}"
