"""Commands that are killed or interrupted at random moments, and how they must end."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.tracking.store import Store
from tests.forked import kill, running

PROJECT = Path(__file__).resolve().parents[2]
EXPERIMENT = "hyplora-bench"
LIMIT = 300.0  # seconds until a command that is left alone has ended
STOPS = 60.0  # seconds until a command has ended after Ctrl-C
IN_A_ROW = 3  # interruptions of one command, at most, before it is left alone

DATA = (
    "data.train=[mawps]",
    "data.tests=[mawps,SVAMP]",
    "data.train_size=60",
    "data.validation=6",
    "data.test_size=20",
    "protocol.max_new_tokens=12",
    "evaluation.batch_size=4",
)
TRAINING = ("train.epochs=1", "train.checkpoint_minutes=0.001")
HYPLORA = ("method=hyplora", "method.lora_dropout=0.1", *DATA, *TRAINING)
ONE_ROW = ("method=none", "data.tests=[mawps]", "data.test_size=1", "protocol.max_new_tokens=2")


class Command(subprocess.Popen[bytes]):
    """A process with the methods of one of multiprocessing's."""

    def is_alive(self) -> bool:
        return self.poll() is None

    @property
    def exitcode(self) -> int | None:
        return self.poll()

    def join(self, timeout: float | None = None) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(timeout)


@contextmanager
def spawned(arguments: Sequence[str], log: Path) -> Iterator[Command]:
    """As `running`, in a new process."""
    program = [sys.executable, "bench/run.py", *arguments]
    with log.open("ab") as file:
        process = Command(
            program, cwd=PROJECT, stdout=file, stderr=file, start_new_session=True,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.is_alive():
            kill(process)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Scenario:
    """A command that is interrupted.

    Attributes:
        arguments: of the command.
        before: of commands that are finished before it.
        begins: a pattern of files; the moment is drawn from the time after one of them is there.
        new_store: whether the command makes its tracking store.
        start: runs it. A forked process waits forever for joblib's workers at its end.
    """

    name: str
    arguments: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    begins: str = ""
    new_store: bool = False
    start: Callable[[Sequence[str], Path], AbstractContextManager[Any]] = running


SCENARIOS = (
    Scenario("first start", ONE_ROW, new_store=True),
    Scenario("fine-tuning", HYPLORA, begins="runs/*"),
    Scenario("evaluation", ("method=none", *DATA), begins="runs/*"),
    Scenario("recording", ONE_ROW, begins="runs/*/predictions.jsonl"),
    Scenario(
        "pretraining",
        (
            *("action=pretrain", "model=helm_d", "action.steps=40", "action.step_tokens=256"),
            *("action.row_tokens=64", "action.documents=100", "action.evaluations=2"),
            "action.checkpoint_minutes=0.001",
        ),
        begins="runs/*",
    ),
    Scenario("sweep", ("-m", "method=lora,none", "seed=0,1", *DATA, *TRAINING)),
    Scenario(
        "sweep in worker processes",
        ("-m", "method=lora,none", "seed=0,1", "hydra/launcher=joblib", *DATA, *TRAINING),
        start=spawned,
    ),
    Scenario("search", ("+sweep=curvature", "seed=0", "hydra/launcher=basic", *DATA, *TRAINING)),
    Scenario("report", ("action=report", "action.figures=1"), (("method=none", *DATA),)),
)


@dataclass
class Ended:
    """How one try ended: the number of interruptions, and what was wrong with it."""

    interruptions: int
    faults: list[str]


class Interrupted:
    """A scenario with the result of an undisturbed run.

    Attributes:
        seconds: that the undisturbed run took from the moment that `begins` names.
    """

    def __init__(self, scenario: Scenario, folder: Path, store: Path) -> None:
        self.scenario, self.folder, self.store = scenario, folder, store
        self.start = folder / "start"
        self.start.mkdir(parents=True)
        if not scenario.new_store:
            shutil.copy(store, self.start / "mlflow.db")
        whole = self._copy("whole")
        began = 0.0
        with self._start(whole) as process:
            limit = time.monotonic() + LIMIT
            while process.is_alive() and time.monotonic() < limit:
                if not began and self._begun(whole):
                    began = time.monotonic()
                time.sleep(0.005)
            self.seconds = time.monotonic() - began
            if process.exitcode != 0 or not began:
                code = process.exitcode
                raise RuntimeError(f"the undisturbed {scenario.name}, code {code}: {_log(whole)}")
        self.expected = outcome(whole)

    def attempt(self, number: int, draw: random.Random) -> Ended:
        """Interrupt the command up to IN_A_ROW times, leave it alone, and compare the results."""
        results, faults, count = self._copy(f"try{number}"), [], 0
        for _ in range(draw.randint(1, IN_A_ROW)):
            by, wait = draw.choice((signal.SIGKILL, signal.SIGINT)), draw.random() * self.seconds
            with self._start(results) as process:
                limit = time.monotonic() + LIMIT
                while process.is_alive() and not self._begun(results):
                    if time.monotonic() > limit:
                        return Ended(count, [f"stuck before its interruption: {_log(results)}"])
                    time.sleep(0.002)
                process.join(wait)
                if not process.is_alive():
                    if process.exitcode:
                        faults.append(f"failed after an interruption: {_log(results)}")
                    break
                count += 1
                with suppress(ProcessLookupError):  # it has just ended
                    os.killpg(process.pid, by)
                process.join(STOPS)
                if process.is_alive():
                    faults.append(f"did not end after Ctrl-C: {_log(results)}")
        with self._start(results) as process:
            process.join(LIMIT)
            if process.is_alive():
                faults.append(f"stuck when it was left alone: {_log(results)}")
            elif process.exitcode:
                faults.append(f"failed when it was left alone: {_log(results)}")
        if not faults:
            faults = _differences(self.expected, outcome(results))
        if not faults:
            shutil.rmtree(results)
        return Ended(count, faults)

    def _copy(self, name: str) -> Path:
        """A results folder before the command; paths in a store are absolute, so it is run anew."""
        results = self.folder / name
        shutil.copytree(self.start, results)
        for arguments in self.scenario.before:
            with running([*arguments, f"tracking.folder={results}"], _log_of(results)) as process:
                process.join(LIMIT)
                assert process.exitcode == 0, _log(results)
        return results

    def _start(self, results: Path) -> AbstractContextManager[Any]:
        arguments = [*self.scenario.arguments, f"tracking.folder={results}"]
        return self.scenario.start(arguments, _log_of(results))

    def _begun(self, results: Path) -> bool:
        return not self.scenario.begins or any(results.glob(self.scenario.begins))


def empty_store(folder: Path) -> Path:
    """The database of a tracking store without an experiment, which names no folder."""
    _ = Store(folder, None, EXPERIMENT).experiment
    path = folder / "mlflow.db"
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM experiments WHERE name = ?", (EXPERIMENT,))
    database.close()
    return path


def outcome(results: Path) -> dict[str, Any]:
    """What a command leaves behind, without times, paths and what depends on the store."""
    found: dict[str, Any] = {}
    for path in sorted(results.glob("runs/*/record.json")):
        record = json.loads(path.read_text())
        training = record.get("training", {})
        kept = [training.get(key) for key in ("losses", "validation", "bits_per_byte")]
        found[f"run {record['identity'][:12]}"] = [record.get("scores"), kept]
    for path in sorted(results.glob("runs/*/predictions.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        texts = sorted((row["task"], row["index"], row["text"]) for row in rows)
        found[f"predictions {path.parent.name}"] = texts
    for path in sorted(results.glob("runs/*/*/*.safetensors")):
        name = f"{path.parents[1].name}/{path.parent.name}"
        found[f"weights {name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(results.glob("tables/*.csv")):
        lines = path.read_text().splitlines()
        found[f"table {path.name}"] = [line for line in lines if "_seconds," not in line]
    store = Store(results, None, EXPERIMENT)
    runs = store.client.search_runs([store.experiment], max_results=1000)
    states = Counter(
        (run.data.tags.get("identity", "")[:12], run.data.tags.get("kind"), run.info.status)
        for run in runs
    )
    found["runs of the store"] = sorted(map(repr, states.items()))
    return found


def _differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return [
        f"{key} is {str(found.get(key))[:200]}, undisturbed {str(expected.get(key))[:200]}"
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key) != found.get(key)
    ]


def _log_of(results: Path) -> Path:
    return results.with_suffix(".log")


def _log(results: Path) -> str:
    lines = _log_of(results).read_text(errors="replace").strip().splitlines()
    return " | ".join(lines[-3:])
