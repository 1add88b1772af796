"""The record of runs: MLflow on sqlite in the results folder, or an MLflow server.

A run's record (`record.json`, metrics, parameters, predictions, adapter) is complete: every
table can be made again from the store alone.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.tracking.record import metrics, tags

METRIC_LIMIT = 500  # of the store's 1,000 that one call may carry
PARAM_CHARACTERS = 6000  # the store's own limit for a parameter's value


class Store:
    """One MLflow experiment, opened."""

    def __init__(self, folder: Path, uri: str | None, experiment: str) -> None:
        """Open the store, and make it where it isn't there yet.

        Args:
            folder: the results folder; sqlite and artifacts are kept there unless a uri is given.
            uri: of an MLflow server, or None.
            experiment: its name in the store.
        """
        # MLflow reports its own use to a server of its makers unless told not to.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow import MlflowClient

        for noisy in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self.uri = uri or f"sqlite:///{folder.resolve() / 'mlflow.db'}"
        artifacts = None if uri else (folder.resolve() / "artifacts").as_uri()
        # Two processes on a fresh database break its migration: the first one makes it alone.
        with FileLock(folder / "mlflow.lock"):
            self.client = MlflowClient(self.uri)
            found = self.client.get_experiment_by_name(experiment)
            self.experiment = (
                found.experiment_id
                if found
                else self.client.create_experiment(experiment, artifact_location=artifacts)
            )

    def finished(self, identity: str, since: float = 0.0) -> str | None:
        """The id of the newest finished run with this identity, or None.

        Args:
            identity: of the run.
            since: seconds since the epoch; runs that ended before do not count.
        """
        ended = f"attributes.end_time >= {round(since * 1000)}"
        return self._newest(identity, f"attributes.status = 'FINISHED' and {ended}")

    def start(self, identity: str, name: str, params: Mapping[str, Any]) -> str:
        """Begin a run, or take up the newest one with this identity that did not finish.

        Args:
            identity: of the run.
            name: what the dashboard calls it.
            params: its configuration, flat; what is logged already is left as it is.

        Returns:
            The run's id.
        """
        run_id = self._newest(identity, "attributes.status != 'FINISHED'")
        if run_id is None:
            run_id = self.client.create_run(
                self.experiment, run_name=name, tags={"identity": identity}
            ).info.run_id
        else:
            self.client.update_run(run_id, status="RUNNING")
        from mlflow.entities import Param

        run = self.client.get_run(run_id)
        if "failure" in run.data.tags:
            self.client.delete_tag(run_id, "failure")
        there = run.data.params
        absent = {k: str(v)[:PARAM_CHARACTERS] for k, v in params.items() if k not in there}
        if absent:
            self.client.log_batch(run_id, params=[Param(k, v) for k, v in absent.items()])
        return run_id

    def finish(self, run_id: str, record: Mapping[str, Any], folder: Path) -> None:
        """Store the record and the run's files, and then, last, mark the run as finished.

        Args:
            run_id: of the run.
            record: what tables are made from.
            folder: holds record.json, predictions.jsonl, and of a method that has them adapter/
                and gates.png.
        """
        from mlflow.entities import Metric

        for name in ("predictions.jsonl", "record.json", "gates.png"):
            if (folder / name).is_file():
                self.client.log_artifact(run_id, str(folder / name))
        if (folder / "adapter").is_dir():
            self.client.log_artifacts(run_id, str(folder / "adapter"), "adapter")
        for key, value in tags(record).items():
            self.client.set_tag(run_id, key, value)
        # One call for each metric would cost 26 ms.
        now = round(time.time() * 1000)
        entries = [Metric(name, value, now, step) for name, value, step in metrics(record)]
        for start in range(0, len(entries), METRIC_LIMIT):
            self.client.log_batch(run_id, metrics=entries[start : start + METRIC_LIMIT])
        self.client.set_terminated(run_id, "FINISHED")

    def fail(self, run_id: str, status: str, reason: str) -> None:
        """Mark a run as FAILED or KILLED, with the reason.

        A store that can't be written (the disk is full) is told of and no more: what made the run
        fail is what its caller goes on to raise.
        """
        try:
            self.client.set_tag(run_id, "failure", reason[-PARAM_CHARACTERS:])
            self.client.set_terminated(run_id, status)
        except Exception as error:
            first = str(error).splitlines()[0]
            print(f"the failure could not be recorded: {first}", file=sys.stderr)

    def record(self, run_id: str) -> dict[str, Any]:
        """The record of a finished run."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.client.download_artifacts(run_id, "record.json", folder)
            return json.loads(Path(path).read_text(encoding="utf-8"))

    def _newest(self, identity: str, condition: str) -> str | None:
        runs = self.client.search_runs(
            [self.experiment],
            f"tags.identity = '{identity}' and {condition}",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return runs[0].info.run_id if runs else None
