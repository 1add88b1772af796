"""Reading all of an experiment at once: what reports are made from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.progress import Progress
from bench.tracking.holdings import Holdings, Measurement, SweepRun, Unfinished, Unreadable
from bench.tracking.record import PRETRAIN
from bench.tracking.shape import incomplete, incomplete_pretraining
from bench.tracking.store import FAILURE, NOTE, PARENT, Store

PAGE = 500  # runs to a query: their parameters and metrics come with them
AT_ONCE = 16  # downloads from a server
NOT_NEEDED = ("files",)  # in any table or figure


@dataclass(frozen=True)
class _Run:
    """What is kept of a run of MLflow's, of which parameters and metrics are the most.

    `options` are its method's where it has not finished: of a finished run the record has them.
    """

    run_id: str
    name: str
    status: str
    end: int
    place: str
    tags: Mapping[str, str]
    options: Mapping[str, str]

    @property
    def identity(self) -> str:
        return self.tags["identity"]


class Reader:
    """Reads what a store holds; writes nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._places: dict[str, str] = {}  # by run: where its files are

    def holdings(self) -> Holdings:
        """Everything that the experiment holds; a record that can't be read is told, not raised."""
        finished: list[_Run] = []
        unfinished: dict[str, _Run] = {}
        pretrained: list[_Run] = []
        sweeps: list[_Run] = []
        measured: dict[str, _Run] = {}
        for run in self._runs():
            self._places[run.run_id] = run.place
            kind = run.tags.get("kind")
            if kind == "sweep":
                sweeps.append(run)
            elif kind == PRETRAIN and run.status == "FINISHED":
                pretrained.append(run)
            elif kind == PRETRAIN:
                unfinished[run.identity] = run
            elif kind is not None:
                before = measured.get(kind)
                if run.status == "FINISHED" and (before is None or before.end <= run.end):
                    measured[kind] = run
            elif "identity" in run.tags and run.status == "FINISHED":
                finished.append(run)
            elif "identity" in run.tags:
                unfinished[run.identity] = run  # the one that was begun last
        sweeps.sort(key=lambda run: run.end, reverse=True)
        newest, bases = _newest(finished), _newest(pretrained)
        records, unreadable = self._records(newest, incomplete)
        pretrainings, damaged = self._records(bases, incomplete_pretraining)
        done = {record["identity"] for record in (*records, *pretrainings)}
        return Holdings(
            records=tuple(records),
            superseded=len(finished) - len(newest),
            unfinished=tuple(_unfinished(r) for i, r in unfinished.items() if i not in done),
            unreadable=(*unreadable, *damaged),
            sweeps=tuple(map(self._sweep, sweeps)),
            measurements={k: m for k, run in measured.items() if (m := self._measured(k, run))},
            pretrainings=tuple(pretrainings),
        )

    def predictions(self, run_id: str) -> list[dict[str, Any]]:
        """What a run wrote, a line of predictions.jsonl each; empty where the file is gone."""
        found = self.file(run_id, "predictions.jsonl")
        lines: list[dict[str, Any]] = []
        with suppress(ValueError):  # what stands behind a damaged line is not read
            for line in (found or b"").splitlines():
                lines.append(json.loads(line))
        return lines

    def file(self, run_id: str, name: str) -> bytes | None:
        """A file that was kept with a run; None where it is not there."""
        from mlflow import MlflowException

        try:
            return self._bytes(run_id, name)
        except (OSError, MlflowException):
            return None

    def _runs(self) -> Iterator[_Run]:
        """All runs in the order in which they began.

        One that begins while pages are read comes last, and moves no other to another page.
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
                info, tags = run.info, run.data.tags
                if info.run_id not in seen:
                    seen.add(info.run_id)
                    end = info.end_time or info.start_time
                    name = info.run_name or info.run_id
                    done = info.status == "FINISHED"
                    options = {} if done else _options(run.data.params)
                    yield _Run(
                        info.run_id, name, info.status, end, info.artifact_uri, tags, options
                    )
            token = page.token
            if not token:
                return

    def _records(
        self, runs: Sequence[_Run], lacking: Callable[[Any], str]
    ) -> tuple[list[dict[str, Any]], list[Unreadable]]:
        """The records of finished runs in their order, and the runs that have none."""
        records, unreadable = [], []
        with Progress("reading records", total=len(runs), unit="run") as progress:
            for run, found in zip(
                runs, self._each(partial(self._record, lacking), runs), strict=True
            ):
                if isinstance(found, str):
                    unreadable.append(Unreadable(run.run_id, run.name, run.place, found))
                else:
                    records.append(found)
                progress.update(1)
        return records, unreadable

    def _each(self, read: Callable[[_Run], Any], runs: Sequence[_Run]) -> Iterable[Any]:
        """In parallel where a server has the files: each waits for an answer or two."""
        if all(_folder(run.place) for run in runs):
            yield from map(read, runs)
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(read, runs)

    def _record(self, incomplete: Callable[[Any], str], run: _Run) -> dict[str, Any] | str:
        """A run's record; in words why there is none."""
        from mlflow import MlflowException

        try:
            record = json.loads(self._bytes(run.run_id, "record.json"))
        except FileNotFoundError:
            return "record.json is gone"
        except (OSError, ValueError, MlflowException) as error:
            told = " ".join(str(error).split()) or type(error).__name__
            return f"record.json can't be read: {told}"
        lacking = incomplete(record)
        if lacking:
            return f"record.json {lacking}"
        if record["identity"] != run.identity:
            return "record.json is another run's"
        for key in NOT_NEEDED:
            record.pop(key, None)
        record |= {"run_id": run.run_id, "ended": run.end, "parent": run.tags.get(PARENT)}
        if not all("outcomes" in score for score in record.get("scores", {}).values()):
            _add_outcomes(record["scores"], self.predictions(run.run_id))
        return record

    def _sweep(self, run: _Run) -> SweepRun:
        table: Any = None
        if run.status != "RUNNING":
            with suppress(ValueError):
                table = json.loads(self.file(run.run_id, f"{run.name}.json") or b"null")
        rows = table.get("rows", ()) if isinstance(table, dict) else ()
        return SweepRun(
            run_id=run.run_id,
            name=run.name,
            status=run.status,
            ended=run.end,
            remarks=tuple(filter(None, run.tags.get(NOTE, "").split("\n\n"))),
            identities=tuple(identity for row in rows for identity in row.get("identities", ())),
        )

    def _measured(self, kind: str, run: _Run) -> Measurement | None:
        try:
            content = json.loads(self.file(run.run_id, f"{kind}.json") or b"")
        except ValueError:
            return None
        return Measurement(kind, run.run_id, run.end, content, run.tags)

    def _bytes(self, run_id: str, name: str) -> bytes:
        place = self._places[run_id]
        folder = _folder(place)
        if folder is not None:
            return (folder / name).read_bytes()
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with tempfile.TemporaryDirectory() as scratch:
            repository = get_artifact_repository(place, tracking_uri=self.store.uri)
            return Path(repository.download_artifacts(name, scratch)).read_bytes()


def _newest(runs: list[_Run]) -> list[_Run]:
    """The newest finished run of each identity, the newest first."""
    runs.sort(key=lambda run: (run.end, run.run_id), reverse=True)
    newest: dict[str, _Run] = {}
    for run in runs:
        newest.setdefault(run.identity, run)
    return list(newest.values())


def _folder(uri: str) -> Path | None:
    """The folder of a local place for files; None where a server has them."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    return Path(local_file_uri_to_path(uri)) if is_local_uri(uri) else None


def _unfinished(run: _Run) -> Unfinished:
    reason = run.tags.get(FAILURE, "").strip().rpartition("\n")[2].strip()
    parent = run.tags.get(PARENT)
    identity, options = run.identity, run.options
    return Unfinished(run.run_id, run.name, identity, run.status, reason, parent, options)


def _options(params: Mapping[str, str]) -> dict[str, str]:
    start = "method."
    return {key.removeprefix(start): text for key, text in params.items() if key.startswith(start)}


def _add_outcomes(scores: dict[str, Any], lines: Iterable[Mapping[str, Any]]) -> None:
    """Say of each score which rows were right, where the lines of all of them are there.

    Records of before this was kept have the counts alone.
    """
    found: dict[str, dict[int, bool]] = {}
    for line in lines:
        found.setdefault(line.get("task", ""), {})[line.get("index", 0)] = (
            line.get("correct") is True
        )
    for key, score in scores.items():
        rows = found.get(key, {})
        if len(rows) == score["n"] and sum(rows.values()) == score.get("correct"):
            score["outcomes"] = "".join("1" if rows[i] else "0" for i in sorted(rows))
