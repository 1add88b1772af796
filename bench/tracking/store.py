"""The tracking store: MLflow on sqlite in the results folder, on PostgreSQL, or behind a server.

The record of a run (`record.json`, metrics, parameters, predictions, adapter) is complete: every
table can be rebuilt from the store alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import printable, without_secrets
from bench.files import as_json
from bench.tracking.backend import cause_of, patience
from bench.tracking.reader import BEGAN, FAILURE, PARENT, Reader, reported
from bench.tracking.record import metrics, store_name, tags
from bench.tracking.sweeps import SWEEP_FILE, SweepRecord

PARAM_CHARACTERS = 6000  # MLflow's limit for the value of a parameter
NOTE = "mlflow.note.content"
SWEEPS = "sweeps"  # tag: the names of the sweeps that a run is part of
FILES = ("predictions.jsonl", "record.json")

Figures = Iterable[tuple[str, float]]


class Store(Reader):
    """One MLflow experiment, for reading and writing."""

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
            identity: the run's identity.
            name: its name in the dashboard.
            params: its configuration, flat; parameters already logged do not change.
            parent: the id of the sweep that the run belongs to.
            kind: kind of the run; None for fine-tuning.
            began: for an imported run, milliseconds since the epoch; a new run is created.
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
        if FAILURE in self.client.get_run(run_id).data.tags:  # of a sweep that took it for its own
            self.client.delete_tag(run_id, FAILURE)
        self.client.set_terminated(run_id, "FINISHED", ended)

    @reported
    def amend(self, run_id: str, record: Mapping[str, Any], figures: Figures = ()) -> None:
        """Replace the record.json of a finished run by one with more in it; adds metrics."""
        self.client.log_text(run_id, as_json(record), "record.json")
        self._log(run_id, figures, _sweeps_tag(record))

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

    @reported
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
    ) -> None:
        """Mark a sweep's own run as finished, with metrics, files and remarks."""
        for path in files:
            self.client.log_artifact(run_id, str(path))
        self._log(run_id, figures.items(), {NOTE: "\n\n".join(remarks)} if remarks else {})
        self.client.set_terminated(run_id, "FINISHED")

    @reported
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
        """Record a measurement, which is not a run; returns its id.

        The content is kept as <kind>.json, its tables and figures in the folder report/. The
        newest of a name (by default the kind) counts.
        """
        run_id = self._create(name or kind, {"kind": kind, **tags}).info.run_id
        self._log(run_id, figures.items())
        self.client.log_text(run_id, as_json(content), f"{kind}.json")
        for path in files:
            self.client.log_artifact(run_id, str(path), "report")
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def _create(self, name: str, tags: Mapping[str, str], began: int | None = None) -> Any:
        return self.client.create_run(self.experiment, began, dict(tags), name)

    def _begin(self, run: Any, params: Mapping[str, Any]) -> str:
        """Mark a run as running, and log the parameters that it lacks: they can't change."""
        from mlflow.entities import Param, RunTag

        run_id, there = run.info.run_id, run.data
        self.client.update_run(run_id, status="RUNNING")
        if FAILURE in there.tags:
            self.client.delete_tag(run_id, FAILURE)
        named = {store_name(key): str(value) for key, value in params.items()}
        absent = {key: value for key, value in named.items() if key not in there.params}
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
            Metric(store_name(name), value, now, step[0] if step else 0)
            for name, value, *step in figures
        ]
        self.client.log_batch(run_id, entries, tags=[RunTag(*tag) for tag in (tags or {}).items()])


def _sweeps_tag(record: Mapping[str, Any]) -> dict[str, str]:
    names = dict.fromkeys(str(found["sweep"]) for found in record.get("sweeps", ()))
    return {SWEEPS: printable(", ".join(names))} if names else {}
