"""Workers of a sweep."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hydra.core.utils import JobStatus

from bench.errors import Failure
from bench.sweep.jobs import Job
from bench.sweep.launch import JOBS, Launch
from bench.tracking.store import Store

SWEEP = """
import multiprocessing, os, sys, time
from bench.sweep import launch

def work(pid):
    launch.CHECK = 0.1
    launch.end_with_sweep(pid)
    print(os.getpid(), flush=True)
    while True:
        sum(range(10**6))

multiprocessing.get_context("fork").Process(target=work, args=(os.getpid(),)).start()
time.sleep(100)
"""


def test_a_worker_ends_with_its_sweep_in_the_middle_of_its_work():
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP], stdout=subprocess.PIPE, text=True)
    worker = int(sweep.stdout.readline())
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    limit = time.monotonic() + 30
    while _runs(worker):
        assert time.monotonic() < limit
        time.sleep(0.05)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # nobody may wait for it
    except FileNotFoundError:
        return False


def test_the_sweep_itself_is_not_watched():
    from bench.sweep.launch import end_with_sweep

    end_with_sweep(os.getpid() + 1)


def job(identity, folder):
    return Job(
        [identity], identity, None, {"identity": identity}, folder, (0, 0), None, None, False
    )


def test_a_run_that_fails_is_tried_again_unless_it_diverged(tmp_path, monkeypatch):
    monkeypatch.setenv(JOBS, "")
    launched = []

    def launch(words, initial_job_idx):
        launched.extend(identity for identity, _ in words)
        errors = [{"a": OSError, "b": FloatingPointError}[identity]("bad") for identity, _ in words]
        return [SimpleNamespace(status=JobStatus.FAILED, _return_value=e) for e in errors]

    store = SimpleNamespace(attempt=lambda identity: None)
    Launch(SimpleNamespace(launch=launch), store, "parent", 2).run(
        [job(identity, tmp_path) for identity in "ab"], tries=3
    )
    assert launched == ["a", "b", "a", "a"]


def test_a_run_left_running_does_not_die_by_a_launcher_that_begins_none(tmp_path, monkeypatch):
    def launch(words, initial_job_idx):
        raise RuntimeError("no machine")

    monkeypatch.setenv(JOBS, "")
    store = Store(tmp_path, None, "test")
    store.start("a", "toy", {})
    left = job("a", tmp_path)
    left.last = store.attempt("a")
    with pytest.raises(Failure, match="before any run began: RuntimeError: no machine"):
        Launch(SimpleNamespace(launch=launch), store, "parent", 1).run([left])
    assert store.attempt("a") == left.last


class Dying:
    """A launcher that dies with several jobs when the first has finished; it runs one alone."""

    def __init__(self, store):
        self.store = store

    def launch(self, jobs, initial_job_idx):
        run_id = self.store.start(jobs[0][0], "toy", {})
        self.store.client.log_text(run_id, "{}", "record.json")
        self.store.client.set_terminated(run_id, "FINISHED")
        if len(jobs) > 1:
            raise RuntimeError("a worker died")
        return [SimpleNamespace(status=JobStatus.COMPLETED,
                                return_value={"record": {}, "found": False})]  # fmt: skip


def test_a_job_whose_worker_died_before_it_began_is_run_if_others_finished(tmp_path, monkeypatch):
    monkeypatch.setenv(JOBS, "")
    store = Store(tmp_path, None, "test")
    jobs = [job(identity, tmp_path) for identity in "abc"]
    Launch(Dying(store), store, "parent", 3).run(jobs)
    assert [one.record for one in jobs] == [{}] * 3


def test_a_job_whose_worker_died_in_a_retry_is_retried_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv(JOBS, "")
    store = Store(tmp_path, None, "test")
    launched = []

    def launch(words, initial_job_idx):
        names = [identity for identity, _ in words]
        launched.append(names)
        if len(launched) == 2:  # the worker of "a" dies before "b" begins
            store.start("a", "toy", {})
            raise RuntimeError("exit codes: SIGKILL")
        if len(launched) > 2:
            return [
                SimpleNamespace(status=JobStatus.COMPLETED, return_value={"record": {}, "found": 0})
                for _ in names
            ]
        for identity in names:
            store.fail(store.start(identity, "toy", {}), "FAILED", "ValueError: transient")
        failed = ValueError("transient")
        return [SimpleNamespace(status=JobStatus.FAILED, _return_value=failed) for _ in names]

    jobs = [job(identity, tmp_path) for identity in "ab"]
    Launch(SimpleNamespace(launch=launch), store, "parent", 2).run(jobs, tries=2)
    assert launched[2:] == [["a"], ["b"]] and [one.record for one in jobs] == [{}] * 2


def test_an_earlier_result_survives_the_death_of_a_worker(tmp_path, monkeypatch):
    monkeypatch.setenv(JOBS, "")
    store = Store(tmp_path, None, "test")
    store.client.set_terminated(store.start("a", "toy", {}), "FINISHED")
    jobs = [job(identity, tmp_path) for identity in "ab"]  # with force=true "a" is run again
    jobs[0].last = store.attempt("a")

    class DyingAlone(Dying):
        def launch(self, jobs, initial_job_idx):
            if len(jobs) > 1:
                super().launch(jobs[::-1], initial_job_idx)
            raise RuntimeError("a worker died")

    Launch(DyingAlone(store), store, "parent", 2).run(jobs)
    assert [one.failure is None for one in jobs] == [False, True]
    assert [store.attempt(one).status for one in "ab"] == ["FINISHED", "FINISHED"]
