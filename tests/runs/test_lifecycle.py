"""The life of a run whose work is a function of the test."""

import json
import threading
import time
from dataclasses import replace

import pytest

from bench.config import TrackingSettings
from bench.errors import InputError, Pruned
from bench.runs.attempt import finished_training
from bench.runs.lifecycle import RecordedRun, cached, open_store, run_once

FOUND = {
    "method": "lora",
    "curvature": None,
    "seed": 0,
    "data": "synthetic",
    "protocol": "fast",
    "scores": {},
    "averages": {"micro": 50.0},
    "parameters": {},
    "seconds": {},
    "rows": {"train": 0},
    "train": {},
    "training": {},
}


def work():
    return dict(FOUND)


def nothing():
    pass


def refuse():
    raise InputError("no such option")


def never():
    raise AssertionError("it was run again")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """One store for all: making one takes longer than a test."""
    return TrackingSettings(str(tmp_path_factory.mktemp("results")), None, "test")


@pytest.fixture
def run(tracking, request):
    """A run that no other test has."""
    identity = f"{abs(hash(request.node.name)):064d}"[-64:][::-1]
    settings = {"seed": 0, "method": {"name": "lora"}}
    names = {"model": "tiny"}
    return RecordedRun("lora seed 0", identity, {"base": "b"}, settings, tracking, False, names)


def attempt(run):
    return open_store(run.tracking).attempt(run.identity)


def test_a_run_is_recorded_with_what_all_runs_record(run):
    outcome = run_once(run, work, nothing)
    record = outcome.record
    assert not outcome.found and outcome.folder == run.folder
    assert record.items() >= FOUND.items()
    assert record["identity"] == run.identity and record["config"] == run.settings
    assert record["hashes"] == {"base": "b"} and record["model"] == "tiny"
    assert record["versions"]["torch"] and record["device"] and "commit" in record["git"]
    assert json.loads((run.folder / "record.json").read_text()) == record
    stored = open_store(run.tracking).client.get_run(record["run_id"])
    assert (
        stored.info.status == "FINISHED"
        and stored.info.run_name == f"lora seed 0 {run.identity[:6]}"
    )
    assert stored.data.metrics["accuracy/micro"] == 50.0
    assert "lora, on tiny" in stored.data.tags["mlflow.note.content"]


def test_a_finished_run_is_cached_under_the_names_of_today(run):
    first = run_once(run, work, nothing)
    again = run_once(replace(run, names={"model": "renamed"}), never, never)
    assert again.found and again.record == first.record | {"model": "renamed"}


def test_force_runs_again_once_in_each_command(run):
    first, forced = run_once(run, work, nothing), replace(run, force=True)
    time.sleep(0.01)
    began = time.time()
    second = run_once(forced, work, nothing, began)
    assert not second.found and second.record["run_id"] != first.record["run_id"]
    assert run_once(forced, never, never, began).record == second.record
    assert run_once(run, never, never).record == second.record, "the newest counts"
    assert cached(forced, open_store(run.tracking), None) is None


def test_a_forced_run_starts_from_an_empty_folder_and_resumes_its_own(run):
    (run.folder / "adapter").mkdir(parents=True)
    run_once(run, work, nothing)

    def interrupted():
        assert {path.name for path in run.folder.iterdir()} == {"lock"}
        (run.folder / "training.json").write_text("{}")
        raise KeyboardInterrupt

    forced = replace(run, force=True)
    with pytest.raises(KeyboardInterrupt):
        run_once(forced, interrupted, nothing)

    def resumed():
        assert (run.folder / "training.json").exists()
        return work()

    assert not run_once(forced, resumed, nothing).found


def test_a_second_process_waits_for_the_lock_and_finds_the_run(run):
    started, finish, outcomes = threading.Event(), threading.Event(), []

    def slow():
        started.set()
        assert finish.wait(30)
        return work()

    def second():
        outcomes.append(run_once(run, never, waiting.set))

    waiting = threading.Event()
    first = threading.Thread(target=lambda: outcomes.append(run_once(run, slow, nothing)))
    first.start()
    assert started.wait(30)
    other = threading.Thread(target=second)
    other.start()
    assert waiting.wait(30)
    finish.set()
    for thread in (first, other):
        thread.join(30)
    assert [outcome.found for outcome in outcomes] == [False, True]


def test_what_is_refused_leaves_no_folder(run):
    with pytest.raises(InputError, match="no such option"):
        run_once(run, never, refuse)
    assert not run.folder.exists() and attempt(run) is None


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
        run_once(run, fails, nothing)
    failed = attempt(run)
    assert failed.status == status
    assert (str(error) or "interrupted from the keyboard") in failed.failure
    assert run.folder.exists() is folder
    failure = run.folder / "failure.txt"
    assert failure.exists() is explained
    assert not explained or "Traceback" in failure.read_text()
    again = run_once(run, work, nothing)
    assert again.record["run_id"] == failed.run_id and not attempt(run).failure
    assert not failure.exists() and not (run.folder / "checkpoint").exists()


def test_a_finished_run_that_lacks_something_is_extended(run):
    run_once(run, work, nothing)
    lacking = replace(run, complete=lambda record: "lm_eval" in record)
    store = open_store(run.tracking)
    assert cached(lacking, store) is None

    def extend(store, run_id):
        return store.record(run_id) | {"lm_eval": {}}

    outcome = run_once(lacking, never, nothing, extend=extend)
    assert outcome.found and outcome.record["lm_eval"] == {}


@pytest.mark.parametrize(
    ("content", "weights", "found"),
    [('{"rows": 8}', True, {"rows": 8}), ('{"rows": 8}', False, None), ("{", True, None)],
)
def test_a_training_is_finished_with_its_facts_and_its_weights(tmp_path, content, weights, found):
    (tmp_path / "training.json").write_text(content)
    if weights:
        (tmp_path / "weights").touch()
    assert finished_training(tmp_path, tmp_path / "weights") == found
