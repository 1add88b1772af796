"""The life of a run whose work is a function of the test."""

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient, MlflowException
from safetensors.numpy import save_file

from bench.config import TrackingSettings
from bench.errors import Failure, InputError, Pruned
from bench.runs.attempt import finished_training
from bench.runs.lifecycle import PreparedRun, cached, open_store, run_once

RESULTS = {
    **{"method": "lora", "curvature": None, "seed": 0, "data": "synthetic", "protocol": "fast"},
    **{"scores": {}, "averages": {"micro": 50.0}, "parameters": {}, "seconds": {}, "training": {}},
    "rows": {"train": 0},
}


FULL = OSError("no space left")


@dataclass(frozen=True)
class Train:
    lr: float = 0.1


@dataclass(frozen=True)
class Settings:
    tracking: TrackingSettings
    force: bool = False
    train: Train = field(default_factory=Train)
    name: str = "lora seed 0"

    @property
    def results(self):
        return self.tracking.results


@dataclass(frozen=True)
class Toy(PreparedRun):
    """A run whose parts the test gives; `needs` is a key that its record must have."""

    does: Callable[[], Any] = lambda: dict(RESULTS)
    checks: Callable[[], Any] = lambda: None
    model: str = "tiny"
    needs: str = "run_id"

    @property
    def names(self):
        return {"model": self.model}

    @property
    def facts(self):
        return {}

    def check(self):
        self.checks()

    def work(self):
        return self.does()

    def is_complete(self, record):
        return self.needs in record

    def extend(self, store, run_id):
        return store.record(run_id) | {self.needs: {}}

    def forced(self, **changes):
        return replace(self, settings=replace(self.settings, force=True), **changes)

    def attempt(self):
        return open_store(self.settings.tracking).attempt(self.identity)


def never():
    raise AssertionError("it was run again")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """One store for all: creating one takes longer than a test."""
    return TrackingSettings(str(tmp_path_factory.mktemp("results")), None, "test")


@pytest.fixture
def run(tracking, request):
    """A run that no other test has."""
    identity = hashlib.sha256(request.node.name.encode()).hexdigest()
    return Toy(Settings(tracking), identity, {"base": "b"}, "32-true")


def test_a_run_is_recorded_with_what_all_runs_record(run):
    outcome = run_once(run)
    record = outcome.record
    assert not outcome.found and outcome.folder == run.folder
    assert record.items() >= RESULTS.items()
    assert record["identity"] == run.identity and record["config"]["train"] == {"lr": 0.1}
    assert record["train"] == {"lr": 0.1, "precision": "32-true"}
    assert record["hashes"] == {"base": "b"} and record["model"] == "tiny"
    assert record["versions"]["torch"] and record["device"] and "commit" in record["git"]
    assert json.loads((run.folder / "record.json").read_text()) == record
    stored = open_store(run.settings.tracking).client.get_run(record["run_id"])
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == f"lora seed 0 {run.identity[:6]}"
    assert stored.data.metrics["accuracy/micro"] == 50.0
    assert "lora, on tiny" in stored.data.tags["mlflow.note.content"]


def test_a_finished_run_is_cached_under_the_names_of_today(run):
    first = run_once(run)
    again = run_once(replace(run, does=never, checks=never, model="renamed"))
    assert again.found and again.record == first.record | {"model": "renamed"}


def test_force_runs_again_once_in_each_command(run):
    first = run_once(run)
    time.sleep(0.01)
    began = time.time()
    second = run_once(run.forced(), began)
    assert not second.found and second.record["run_id"] != first.record["run_id"]
    assert run_once(run.forced(does=never), began).record == second.record
    assert run_once(replace(run, does=never)).record == second.record, "the newest counts"
    assert cached(run.forced(), open_store(run.settings.tracking), None) is None


def test_a_forced_run_starts_from_an_empty_folder_and_resumes_its_own(run):
    (run.folder / "adapter").mkdir(parents=True)
    run_once(run)

    def interrupted():
        assert {path.name for path in run.folder.iterdir()} == {"lock"}
        (run.folder / "training.json").write_text("{}")
        raise KeyboardInterrupt

    def resumed():
        assert (run.folder / "training.json").exists()
        return RESULTS

    with pytest.raises(KeyboardInterrupt):
        run_once(run.forced(does=interrupted))
    assert not run_once(run.forced(does=resumed)).found


def test_a_forced_run_that_could_not_be_recorded_is_not_repeated(run, monkeypatch):
    run_once(run)

    def again():
        (run.folder / "training.json").write_text("{}")
        return RESULTS

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr("bench.tracking.store.Store.finish", lambda *_: (_ for _ in ()).throw(FULL))
        run_once(run.forced(does=again))

    def kept():
        assert (run.folder / "training.json").exists()
        return RESULTS

    assert not run_once(run.forced(does=kept)).found


def test_a_second_process_says_whom_it_waits_for_and_finds_the_run(run, capsys):
    started, waiting, finish, outcomes = *(threading.Event() for _ in range(3)), []

    def slow():
        started.set()
        assert finish.wait(30)
        return RESULTS

    def start(**parts):
        thread = threading.Thread(target=lambda: outcomes.append(run_once(replace(run, **parts))))
        thread.start()
        return thread

    first = start(does=slow)
    assert started.wait(30)
    second = start(does=never, checks=waiting.set)
    assert waiting.wait(30)
    while not (printed := capsys.readouterr().out):
        time.sleep(0.01)
    holder = f"in use by process {os.getpid()} on {socket.gethostname()} since "
    assert printed.startswith(f"waiting for the run {run.settings.name}, {holder}")
    finish.set()
    first.join(30)
    second.join(30)
    assert [outcome.found for outcome in outcomes] == [False, True]


def test_what_is_refused_leaves_no_folder(run):
    def refuse():
        raise InputError("no such option")

    with pytest.raises(InputError, match="no such option"):
        run_once(replace(run, checks=refuse))
    assert not run.folder.exists() and run.attempt() is None


@pytest.mark.parametrize(
    ("error", "status", "leaves", "folder", "explained"),
    [
        (ZeroDivisionError("by zero"), "FAILED", False, True, True),
        (KeyboardInterrupt(), "KILLED", False, True, False),
        (Pruned("above the median"), "KILLED", False, True, False),
        (InputError("too short"), "FAILED", False, False, False),
        (InputError("too short"), "FAILED", True, True, True),
    ],
)
def test_a_failure_is_recorded_and_the_run_tried_again(
    run, error, status, leaves, folder, explained
):
    def fails():
        (run.folder / "checkpoint").mkdir()
        if leaves:
            (run.folder / "predictions.jsonl").touch()
        raise error

    with pytest.raises(type(error)):
        run_once(replace(run, does=fails))
    failed, failure = run.attempt(), run.folder / "failure.txt"
    assert failed.status == status
    assert (str(error) or "interrupted from the keyboard") in failed.failure
    assert run.folder.exists() is folder and failure.exists() is explained
    assert not explained or "Traceback" in failure.read_text()
    assert run_once(run).record["run_id"] == failed.run_id and not run.attempt().failure
    assert not failure.exists() and not (run.folder / "checkpoint").exists()


def test_a_failure_has_no_password(run):
    def fails():
        raise ValueError("no answer from http://me:secret@host")

    with pytest.raises(ValueError):
        run_once(replace(run, does=fails))
    for text in (run.attempt().failure, (run.folder / "failure.txt").read_text()):
        assert "http://me:***@host" in text and "secret" not in text


def test_what_a_killed_process_was_writing_is_removed(run):
    (run.folder / "adapter.partial").mkdir(parents=True)
    (run.folder / "adapter.partial" / "adapter_config.json").touch()
    (run.folder / ".record.json.123.partial").touch()
    run_once(run)
    assert not list(run.folder.rglob("*.partial"))


def test_a_result_is_kept_if_the_server_is_gone_and_recorded_once_it_is_back(run, monkeypatch):
    def gone(*_):
        try:
            raise ConnectionRefusedError("Connection refused")
        except OSError as error:
            raise MlflowException(f"API request failed with exception {error}") from error

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", gone)
        with pytest.raises(Failure, match=r"can't be used: Connection refused\. What was finished"):
            run_once(run)
    assert json.loads((run.folder / "record.json").read_text())["averages"] == {"micro": 50.0}
    outcome = run_once(run)
    assert cached(run, open_store(run.settings.tracking)).record == outcome.record


def test_a_finished_run_that_lacks_something_is_extended(run):
    run_once(run)
    lacking = replace(run, does=never, needs="lm_eval")
    assert cached(lacking, open_store(run.settings.tracking)) is None
    outcome = run_once(lacking)
    assert outcome.found and outcome.record["lm_eval"] == {}


@pytest.fixture
def trained(tmp_path):
    """The folder of a run that has ended its training."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file({"a": np.zeros(8)}, tmp_path / "adapter" / "adapter_model.safetensors")
    (tmp_path / "training.json").write_text('{"parameters": {}}')
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("training.json", text) for text in ("{", "[]", '{"rows": 8}', "[" * 100_000, None)),
        *(("adapter/adapter_config.json", text) for text in ("", "{}", None)),
        *(("adapter/adapter_model.safetensors", text) for text in ("", "x" * 100, None, ...)),
    ],
)
def test_a_training_with_a_damaged_or_missing_file_is_repeated(trained, name, content):
    path, config = trained / name, trained / "adapter" / "adapter_config.json"
    assert finished_training(trained, config) == {"parameters": {}}
    if content is None:
        path.unlink()
    elif content is ...:
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.write_text(content)
    assert finished_training(trained, config) is None
