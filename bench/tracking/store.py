"""The tracking store: MLflow on sqlite in the results folder, on PostgreSQL, or behind a server.

The record of a run (`record.json`, metrics, parameters, predictions, adapter) is complete: every
table can be made again from the store alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import printable
from bench.files import write_json
from bench.tracking.connection import BEGAN, FAILURE, Attempt, Connection, NothingRecorded
from bench.tracking.record import metric_name, metrics, tags
from bench.tracking.sweeps import SWEEP_FILE, SweepRecord

__all__ = ["BEGAN", "FAILURE", "NOTE", "PARENT", "Attempt", "NothingRecorded", "Store"]

METRIC_LIMIT = 500  # metrics per call; MLflow takes 1,000
PARAM_CHARACTERS = 6000  # MLflow's limit for the value of a parameter
PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"
SWEEPS = "sweeps"  # tag: the names of the sweeps that a run is part of
FILES = ("predictions.jsonl", "record.json")


class Store(Connection):
    """One MLflow experiment, to record runs, sweeps and measurements in."""

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

        Returns:
            The run's id.
        """
        resumed = None
        if began is None:
            resumed = self._newest(identity, "attributes.status != 'FINISHED'")
        given = {"identity": identity, **({"kind": kind} if kind else {})}
        run_id = resumed or self._create(name, given, began)
        if parent:
            self.adopt(run_id, parent)
        self._begin(run_id, params)
        return run_id

    def finish(
        self,
        run_id: str,
        record: Mapping[str, Any],
        folder: Path,
        note: str = "",
        ended: int | None = None,
    ) -> None:
        """Store the record and the run's files, and then, last, mark the run as finished.

        Args:
            run_id: of the run.
            record: what tables are made from.
            folder: holds record.json, predictions.jsonl, and of some methods adapter/.
            note: for the dashboard, in Markdown.
            ended: of an imported run, milliseconds since the epoch.
        """
        for name in FILES:
            if (folder / name).is_file():
                self.client.log_artifact(run_id, str(folder / name))
        if (folder / "adapter").is_dir():
            self.client.log_artifacts(run_id, str(folder / "adapter"), "adapter")
        found = tags(record) | _sweeps_tag(record) | ({NOTE: note} if note else {})
        for key, value in found.items():
            self.client.set_tag(run_id, key, value)
        self._log(metrics(record), run_id)
        self.client.set_terminated(run_id, "FINISHED", ended)

    def amend(self, run_id: str, record: Path, figures: Iterable[tuple[str, float]] = ()) -> None:
        """Replace the record of a finished run by one with more in it.

        Args:
            run_id: of the run.
            record: record.json.
            figures: further metrics by name.
        """
        self._log([(metric_name(name), value, 0) for name, value in figures], run_id)
        self.client.log_artifact(run_id, str(record))
        for key, value in _sweeps_tag(json.loads(record.read_text(encoding="utf-8"))).items():
            self.client.set_tag(run_id, key, value)

    def fail(self, run_id: str, status: str, reason: str) -> None:
        """Mark a run as FAILED or KILLED, with the reason.

        If that can't be written (the disk is full) it is printed: the caller raises what made the
        run fail.
        """
        try:
            self.client.set_tag(run_id, FAILURE, printable(reason)[-PARAM_CHARACTERS:])
            self.client.set_terminated(run_id, status)
        except Exception as error:
            first = str(error).splitlines()[0]
            print(f"the failure could not be recorded: {first}", file=sys.stderr)

    def sweep(self, identity: str, name: str, params: Mapping[str, Any]) -> str:
        """Start the run that represents a sweep; the sweep's runs are its children.

        Args:
            identity: of the sweep. A sweep that is run again continues in the same run.
            name: in the dashboard.
            params: what it runs over.
        """
        given = {"identity": identity, "kind": "sweep"}
        run_id = self._newest(identity) or self._create(name, given)
        self._begin(run_id, params)
        return run_id

    def keep_sweeps(self, run_id: str, sweeps: Iterable[SweepRecord]) -> None:
        """Write what a sweep asked for, one record per question, into sweep.json of its run."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / SWEEP_FILE
            write_json(path, [sweep.to_json() for sweep in sweeps])
            self.client.log_artifact(run_id, str(path))

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
            remarks: for the dashboard.
            failure: what went wrong; empty if nothing did.
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

    def adopt(self, run_id: str, parent: str) -> None:
        """Make a run the child of a sweep, unless it is one already."""
        if PARENT not in self.client.get_run(run_id).data.tags:
            self.client.set_tag(run_id, PARENT, parent)

    def keep(
        self,
        kind: str,
        content: Mapping[str, Any],
        figures: Mapping[str, float],
        tags: Mapping[str, str],
        files: Iterable[Path] = (),
    ) -> str:
        """Record a measurement, which is no run; returns its id.

        Args:
            kind: of the measurement, also its name.
            content: what was measured, kept as <kind>.json.
            figures: metrics by name.
            tags: for the dashboard's filters.
            files: its tables and figures, kept in the folder report/.
        """
        run_id = self._create(kind, {"kind": kind, **tags})
        self._log([(name, value, 0) for name, value in figures.items()], run_id)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{kind}.json"
            write_json(path, content)
            self.client.log_artifact(run_id, str(path))
        for path in files:
            self.client.log_artifact(run_id, str(path), "report")
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def _create(self, name: str, tags: Mapping[str, str], began: int | None = None) -> str:
        run = self.client.create_run(self.experiment, began, dict(tags), name)
        return run.info.run_id

    def _begin(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Mark a run as running, and log the parameters that it lacks: they can't change."""
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

    def _log(self, values: Sequence[tuple[str, float, int]], run_id: str) -> None:
        """Log (name, value, step) in batches: a call takes 26 ms."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        entries = [Metric(name, value, now, step) for name, value, step in values]
        for start in range(0, len(entries), METRIC_LIMIT):
            self.client.log_batch(run_id, metrics=entries[start : start + METRIC_LIMIT])


def _sweeps_tag(record: Mapping[str, Any]) -> dict[str, str]:
    names = dict.fromkeys(str(found["sweep"]) for found in record.get("sweeps", ()))
    return {SWEEPS: printable(", ".join(names))} if names else {}
