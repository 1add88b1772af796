"""An MLflow experiment, opened or created, and what is asked of it."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import Failure, InputError, disk_is_full, unknown
from bench.tracking.backend import backend, without_password

TIMED = {
    "finetune": "seconds/finetune",
    "evaluate": "seconds/evaluate",
    "trained": "rows/trained",
    "asked": "rows/asked",
}
UNUSED = "Default"  # an experiment that MLflow creates itself
FAILURE, BEGAN = "failure", "began"  # tags: the traceback; when the run was last started


@dataclass(frozen=True)
class Attempt:
    """The newest run of an identity: MLflow's status, when it was last started, why it failed."""

    run_id: str
    status: str
    began: str
    failure: str


class NothingRecorded(LookupError):
    """There is no store, or no experiment in it."""


class Connection:
    """One MLflow experiment, to read from."""

    def __init__(self, folder: Path, uri: str | None, experiment: str, create: bool = True) -> None:
        """Open the store; create it if it does not exist.

        Args:
            folder: the results folder, for sqlite and artifacts.
            uri: of an MLflow server, which keeps the artifacts too, or of PostgreSQL; or None.
            experiment: its name in the store.
            create: whether to create what does not exist; reports leave nothing behind.

        Raises:
            InputError: the uri is of another kind, can't be reached, or the experiment is one whose
                files only a server can reach.
            NothingRecorded: it does not exist, and `create` is False.
        """
        # MLflow reports its use to its makers by default.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow import MlflowClient, MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        for noisy in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        place = backend(folder.resolve(), uri)
        if not create and place.absent:
            raise NothingRecorded(f"there is no {without_password(place.uri)}")
        folder.mkdir(parents=True, exist_ok=True)
        self.uri = place.uri
        try:
            with place.making():
                self.client = MlflowClient(self.uri)
                self.experiment = self._experiment(experiment, place.artifacts, create)
        except (SQLAlchemyError, MlflowException) as error:
            if disk_is_full(error):
                raise
            raise InputError(
                f"the tracking store, tracking.uri={without_password(self.uri)}, can't be used: "
                f"{str(error).partition(chr(10))[0]}"
            ) from error

    def _experiment(self, name: str, artifacts: str | None, create: bool) -> str:
        from mlflow import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is not None:
            if artifacts and found.artifact_location.startswith("mlflow-artifacts:"):
                raise InputError(
                    f"the experiment {name} was created by an MLflow server, which keeps its "
                    "files: give tracking.uri=http://HOST:PORT of that server, or another "
                    "tracking.experiment=NAME"
                )
            return found.experiment_id
        if not create:
            known = [e.name for e in self.client.search_experiments() if e.name != UNUSED]
            if known:
                raise unknown("tracking.experiment", name, known)
            raise NothingRecorded(f"{without_password(self.uri)} has no experiments")
        try:
            return self.client.create_experiment(name, artifact_location=artifacts)
        except MlflowException:
            # Another process may have created it in between.
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return found.experiment_id

    def finished(self, identity: str, since: float = 0.0) -> str | None:
        """The id of the newest finished run with this identity, or None.

        Args:
            identity: of the run.
            since: seconds since the epoch; runs that ended before do not count.
        """
        ended = f"attributes.end_time >= {round(since * 1000)}"
        return self._newest(identity, f"attributes.status = 'FINISHED' and {ended}")

    def attempt(self, identity: str) -> Attempt | None:
        """The newest run with this identity, finished or not; None if there is none."""
        run_id = self._newest(identity)
        if run_id is None:
            return None
        run = self.client.get_run(run_id)
        found = run.data.tags
        return Attempt(run_id, run.info.status, found.get(BEGAN, ""), found.get(FAILURE, ""))

    def record(self, run_id: str) -> dict[str, Any]:
        """The record of a finished run.

        Raises:
            Failure: the store has the run, but its record is gone or damaged.
        """
        from mlflow import MlflowException

        with tempfile.TemporaryDirectory() as folder:
            try:
                path = self.client.download_artifacts(run_id, "record.json", folder)
                return json.loads(Path(path).read_text(encoding="utf-8"))
            except (OSError, ValueError, MlflowException) as error:
                where = self.client.get_run(run_id).info.artifact_uri
                raise Failure(
                    f"the record of a finished run, record.json in {where}, can't be read: "
                    f"{error}. The same command with force=true runs it again"
                ) from error

    def download(self, run_id: str, name: str, folder: Path) -> Path:
        """Fetch a file or folder of a run.

        Args:
            run_id: of the run.
            name: of the file or folder.
            folder: where to put it.

        Raises:
            Failure: it is gone, or can't be read.
        """
        from mlflow import MlflowException

        try:
            return Path(self.client.download_artifacts(run_id, name, str(folder)))
        except (OSError, MlflowException) as error:
            raise Failure(f"{name} of the run {run_id} can't be fetched: {error}") from error

    def timings(self, tags: Mapping[str, str], count: int) -> list[dict[str, float]]:
        """How long the newest finished runs with these tags took, in seconds, for how many rows.

        Returns:
            For each run `finetune`, `evaluate` and `total` seconds, and the rows `trained` (once
            per epoch) and `asked`; runs that were resumed are left out.
        """
        wanted = [f"tags.{key} = '{value}'" for key, value in tags.items()]
        runs = self.client.search_runs(
            [self.experiment],
            " and ".join(["attributes.status = 'FINISHED'", *wanted]),
            order_by=["attributes.end_time DESC"],
            max_results=count,
        )
        found = []
        for run in runs:
            start, end = run.info.start_time / 1000, run.info.end_time / 1000
            if float(run.data.tags.get(BEGAN, 0)) <= start + 5:
                values = {key: run.data.metrics.get(name, 0.0) for key, name in TIMED.items()}
                found.append(values | {"total": end - start})
        return found

    def finished_like(self, beginning: str) -> dict[str, str]:
        """Finished runs whose identity begins like this, or that have this id in the store.

        Args:
            beginning: hexadecimal digits; empty for all.

        Returns:
            Identities by run id, the newest first: up to 1,000, of each identity the newest alone.
        """
        names = [f"tags.identity LIKE '{beginning}%'", f"attributes.run_id = '{beginning}'"]
        for name in names if beginning else [names[0]]:
            runs = self.client.search_runs(
                [self.experiment],
                f"attributes.status = 'FINISHED' and {name}",
                order_by=["attributes.end_time DESC"],
            )
            newest: dict[str, str] = {}
            for run in runs:
                identity = run.data.tags.get("identity", "sweep")
                if not identity.startswith("sweep"):
                    newest.setdefault(identity, run.info.run_id)
            if newest:
                return {run_id: identity for identity, run_id in newest.items()}
        return {}

    def began(self, run_id: str) -> float | None:
        """When a run was first started, in seconds since the epoch; None if there is none."""
        from mlflow import MlflowException

        try:
            return float(self.client.get_run(run_id).info.start_time) / 1000
        except MlflowException:
            return None

    def _newest(self, identity: str, condition: str | None = None) -> str | None:
        wanted = f"tags.identity = '{identity}'"
        runs = self.client.search_runs(
            [self.experiment],
            f"{wanted} and {condition}" if condition else wanted,
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return runs[0].info.run_id if runs else None
