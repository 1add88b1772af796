"""The record of runs: MLflow on sqlite in the results folder, on PostgreSQL, or behind a server.

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import Failure, InputError, disk_is_full, printable, unknown
from bench.tracking.backend import backend, without_password
from bench.tracking.record import metric_name, metrics, tags

METRIC_LIMIT = 500  # of the store's 1,000 that one call may carry
PARAM_CHARACTERS = 6000  # the store's own limit for a parameter's value
TIMED = {
    "finetune": "seconds/finetune",
    "evaluate": "seconds/evaluate",
    "trained": "rows/trained",
    "asked": "rows/asked",
}
PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"
UNUSED = "Default"  # an experiment that MLflow makes itself
FAILURE, BEGAN = "failure", "began"  # tags: the traceback; when the run was last taken up


@dataclass(frozen=True)
class Attempt:
    """How a run stands: MLflow's status, when it was last taken up, and why it failed."""

    run_id: str
    status: str
    began: str
    failure: str


class NothingRecorded(LookupError):
    """There is no store, or no experiment in it."""


class Store:
    """One MLflow experiment, opened."""

    def __init__(self, folder: Path, uri: str | None, experiment: str, create: bool = True) -> None:
        """Open the store, and make it where it isn't there yet.

        Args:
            folder: the results folder; sqlite and artifacts are kept there.
            uri: of an MLflow server, which keeps the artifacts, too, or of PostgreSQL; or None.
            experiment: its name in the store.
            create: whether to make what isn't there; a reader leaves nothing behind.

        Raises:
            InputError: the uri is of another kind, nothing answers there, or the experiment there
                is one whose files only a server can reach.
            NothingRecorded: it isn't there, and is not to be made.
        """
        # MLflow reports its own use to a server of its makers unless told not to.
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
                f"the record of runs, tracking.uri={without_password(self.uri)}, can't be used: "
                f"{str(error).partition(chr(10))[0]}"
            ) from error

    def finished(self, identity: str, since: float = 0.0) -> str | None:
        """The id of the newest finished run with this identity, or None.

        Args:
            identity: of the run.
            since: seconds since the epoch; runs that ended before do not count.
        """
        ended = f"attributes.end_time >= {round(since * 1000)}"
        return self._newest(identity, f"attributes.status = 'FINISHED' and {ended}")

    def attempt(self, identity: str) -> Attempt | None:
        """How the newest run with this identity stands; None where there is none."""
        run_id = self._newest(identity)
        if run_id is None:
            return None
        run = self.client.get_run(run_id)
        tags = run.data.tags
        began = tags.get(BEGAN, "")
        return Attempt(run_id, run.info.status, began, tags.get(FAILURE, ""))

    def sweep(self, identity: str, name: str, params: Mapping[str, Any]) -> str:
        """The id of the run that stands for a sweep; its runs are that one's children.

        Args:
            identity: of the sweep. A sweep that is run again goes on in the same run.
            name: what the dashboard calls it.
            params: what it runs over.
        """
        run_id = self._newest(identity)
        if run_id is None:
            tags = {"identity": identity, "kind": "sweep"}
            run_id = self.client.create_run(self.experiment, run_name=name, tags=tags).info.run_id
        self._begin(run_id, params)
        return run_id

    def finish_sweep(
        self,
        run_id: str,
        figures: Mapping[str, float],
        files: Iterable[Path],
        remarks: Sequence[str],
        failure: str,
    ) -> None:
        """Close a sweep's own run.

        Args:
            run_id: of the sweep.
            figures: metrics by name.
            files: tables and figures to keep with it.
            remarks: what the dashboard says of it.
            failure: what went wrong; empty where all is well.
        """
        for path in files:
            self.client.log_artifact(run_id, str(path))
        self._log([(name, value, 0) for name, value in figures.items()], run_id)
        if remarks:
            self.client.set_tag(run_id, NOTE, "\n\n".join(remarks))
        if failure:
            self.fail(run_id, "FAILED", failure)
        else:
            self.client.set_terminated(run_id, "FINISHED")

    def keep(
        self,
        kind: str,
        figures: Mapping[str, float],
        tags: Mapping[str, str],
        files: Iterable[Path],
    ) -> str:
        """Record a measurement that is no run: its figures and its files; return its id.

        Args:
            kind: what it is, also its name.
            figures: metrics by name.
            tags: what the dashboard filters by.
            files: to keep with it.
        """
        run_id = self.client.create_run(
            self.experiment, run_name=kind, tags={"kind": kind, **tags}
        ).info.run_id
        self._log([(name, value, 0) for name, value in figures.items()], run_id)
        for path in files:
            self.client.log_artifact(run_id, str(path))
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def adopt(self, run_id: str, parent: str) -> None:
        """Make a run the child of a sweep, where it is none yet."""
        if PARENT not in self.client.get_run(run_id).data.tags:
            self.client.set_tag(run_id, PARENT, parent)

    def start(
        self,
        identity: str,
        name: str,
        params: Mapping[str, Any],
        parent: str | None = None,
        kind: str | None = None,
    ) -> str:
        """Begin a run, or take up the newest one with this identity that did not finish.

        Args:
            identity: of the run.
            name: what the dashboard calls it.
            params: its configuration, flat; what is logged already is left as it is.
            parent: the id of the sweep that the run belongs to.
            kind: of the run, where it is no fine-tuning.

        Returns:
            The run's id.
        """
        run_id = self._newest(identity, "attributes.status != 'FINISHED'")
        if run_id is None:
            tags = {"identity": identity, **({"kind": kind} if kind else {})}
            run_id = self.client.create_run(self.experiment, run_name=name, tags=tags).info.run_id
        if parent:
            self.adopt(run_id, parent)
        self._begin(run_id, params)
        return run_id

    def _begin(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Mark a run as running, and log what is absent of its parameters: they can't change."""
        from mlflow.entities import Param, RunTag

        self.client.update_run(run_id, status="RUNNING")
        run = self.client.get_run(run_id)
        if FAILURE in run.data.tags:
            self.client.delete_tag(run_id, FAILURE)
        there = run.data.params
        absent = {k: str(v)[:PARAM_CHARACTERS] for k, v in params.items() if k not in there}
        self.client.log_batch(
            run_id,
            params=[Param(k, v) for k, v in absent.items()],
            tags=[RunTag(BEGAN, str(time.time()))],
        )

    def finish(self, run_id: str, record: Mapping[str, Any], folder: Path, note: str = "") -> None:
        """Store the record and the run's files, and then, last, mark the run as finished.

        Args:
            run_id: of the run.
            record: what tables are made from.
            folder: holds record.json, predictions.jsonl, and of a method that has them adapter/
                and gates.png.
            note: what the dashboard says of it, in Markdown.
        """
        for name in ("predictions.jsonl", "record.json", "gates.png"):
            if (folder / name).is_file():
                self.client.log_artifact(run_id, str(folder / name))
        if (folder / "adapter").is_dir():
            self.client.log_artifacts(run_id, str(folder / "adapter"), "adapter")
        for key, value in {**tags(record), **({NOTE: note} if note else {})}.items():
            self.client.set_tag(run_id, key, value)
        self._log(metrics(record), run_id)
        self.client.set_terminated(run_id, "FINISHED")

    def amend(self, run_id: str, record: Path, figures: Iterable[tuple[str, float]]) -> None:
        """Put a record in the place of a finished run's, and add figures to the run.

        Args:
            run_id: of the run.
            record: record.json, with more in it.
            figures: further metrics by name.
        """
        self._log([(metric_name(name), value, 0) for name, value in figures], run_id)
        self.client.log_artifact(run_id, str(record))

    def _log(self, values: Sequence[tuple[str, float, int]], run_id: str) -> None:
        """Log (name, value, step): one call for each would cost 26 ms."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        entries = [Metric(name, value, now, step) for name, value, step in values]
        for start in range(0, len(entries), METRIC_LIMIT):
            self.client.log_batch(run_id, metrics=entries[start : start + METRIC_LIMIT])

    def fail(self, run_id: str, status: str, reason: str) -> None:
        """Mark a run as FAILED or KILLED, with the reason.

        A store that can't be written (the disk is full) is told of and no more: what made the run
        fail is what its caller goes on to raise.
        """
        try:
            self.client.set_tag(run_id, FAILURE, printable(reason)[-PARAM_CHARACTERS:])
            self.client.set_terminated(run_id, status)
        except Exception as error:
            first = str(error).splitlines()[0]
            print(f"the failure could not be recorded: {first}", file=sys.stderr)

    def timings(self, tags: Mapping[str, str], count: int) -> list[dict[str, float]]:
        """What the newest finished runs with these tags took, in seconds, and for how much work.

        Returns:
            For each run `finetune`, `evaluate` and `total` seconds, and the rows `trained` (once
            for each pass) and `asked`; of runs that were never taken up again alone.
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
            if float(run.data.tags.get(BEGAN, 0)) > start + 5:
                continue
            values = {"total": end - start}
            for key, metric in TIMED.items():
                values[key] = run.data.metrics.get(metric, 0.0)
            found.append(values)
        return found

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
                    f"{error}. The same command with force=true makes it anew"
                ) from error

    def finished_like(self, beginning: str) -> dict[str, str]:
        """Finished runs whose identity begins so, or whose id in the store it is.

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
        """When a run was first begun, in seconds since the epoch; None where there is no such."""
        from mlflow import MlflowException

        try:
            return float(self.client.get_run(run_id).info.start_time) / 1000
        except MlflowException:
            return None

    def download(self, run_id: str, name: str, folder: Path) -> Path:
        """Fetch a file or a folder that was kept with a run.

        Args:
            run_id: of the run.
            name: of the file or folder.
            folder: to put it into.

        Raises:
            Failure: it is gone, or can't be read.
        """
        from mlflow import MlflowException

        try:
            return Path(self.client.download_artifacts(run_id, name, str(folder)))
        except (OSError, MlflowException) as error:
            raise Failure(f"{name} of the run {run_id} can't be fetched: {error}") from error

    def _experiment(self, name: str, artifacts: str | None, create: bool) -> str:
        from mlflow import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is not None:
            if artifacts and found.artifact_location.startswith("mlflow-artifacts:"):
                raise InputError(
                    f"the experiment {name} was made behind an MLflow server, which keeps its "
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
            # Another machine's process asked the same server for it in between?
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return found.experiment_id

    def _newest(self, identity: str, condition: str | None = None) -> str | None:
        wanted = f"tags.identity = '{identity}'"
        runs = self.client.search_runs(
            [self.experiment],
            f"{wanted} and {condition}" if condition else wanted,
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return runs[0].info.run_id if runs else None
