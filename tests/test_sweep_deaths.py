"""Sweeps whose runs fail, and sweeps that are killed: nothing is lost, nothing is done twice."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from bench.config import PROJECT
from bench.tracking.store import Store
from tests.forked import kill, running
from tests.helpers import python, records_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
SEEDS = "seed=0,1,2"

POISON = '''\
"""LoRA whose runs fail or die when the base is measured."""

import os
import re
import signal

from bench.methods import lora


def config(options):
    return lora.config({"r": 4, "target_modules": ["q_proj"]})


def calibrated(base, options, prompts):
    if options["end"] == "raise":
        raise FloatingPointError("a poisoned run")
    if options["end"] == "allocate":
        bytearray(10**15)
    if options["end"] == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)
'''
ENDS = ("raise", "allocate", "exit", "kill")


@pytest.mark.parametrize(
    "launcher", [pytest.param("joblib", marks=pytest.mark.ci), "submitit_local"]
)
def test_runs_that_die_are_named_and_the_others_finish(checkout, small, launcher):
    if launcher == "submitit_local":
        pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
    files = {"bench/methods/poison.py": POISON}
    for end in ENDS:
        files[f"conf/method/poison_{end}.yaml"] = (
            f"name: poison_{end}\nmodule: poison\ntrained: true\nend: {end}\nlr: {{tiny: 1e-3}}\n"
        )
    project = checkout(files)
    methods = ",".join(["none", *(f"poison_{end}" for end in ENDS), "lora"])
    words = ("-m", f"method={methods}", *small, f"hydra/launcher={launcher}")
    result = python("bench/run.py", *words, cwd=project, timeout=600)
    assert result.returncode == 1, result.stderr
    assert "2 done now, 0 cached, 4 failed" in result.stdout
    for end, reason in (
        ("raise", "FloatingPointError: a poisoned run"),
        ("allocate", "MemoryError"),
        ("exit", "worker process died without"),
        ("kill", "SIGKILL" if launcher == "joblib" else "worker process died without"),
    ):
        (line,) = [line for line in result.stderr.splitlines() if f"=poison_{end}:" in line]
        assert reason in line
    assert {record["method"] for record in records_of(project / "results")} == {"none", "lora"}
    store = Store(project / "results", None, "hyplora-bench")
    runs = store.client.search_runs([store.experiment])
    states = [run.info.status for run in runs if run.data.tags.get("kind") != "sweep"]
    assert sorted(states) == ["FAILED"] * 4 + ["FINISHED"] * 2


def scores(results):
    found = records_of(results)
    return sorted((r["curvature"], r["seed"], json.dumps(r["scores"])) for r in found)


@pytest.mark.ci
def test_a_search_killed_again_and_again_ends_as_one_left_alone(tmp_path, small):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    log = tmp_path / "log"

    def search(results, launcher):
        folder = f"tracking.folder={results}"
        return running(
            ["+sweep=curvature", SEEDS, *small, f"hydra/launcher={launcher}", folder], log
        )

    def finish(results):
        log.write_text("")
        with search(results, "basic") as process:
            process.join(300)
            assert process.exitcode == 0, log.read_text()
        return log.read_text()

    finish(undisturbed)
    for finished, launcher in ((1, "joblib"), (8, "basic")):
        with search(killed, launcher) as process:
            limit = time.monotonic() + 200
            while len(list(killed.glob("runs/*/record.json"))) < finished:
                assert process.is_alive() and time.monotonic() < limit, log.read_text()
                time.sleep(0.02)
            kill(process)
    assert "0 failed" in finish(killed)
    assert len(scores(killed)) == 12 and scores(killed) == scores(undisturbed)
    store = Store(killed, None, "hyplora-bench")
    runs = store.client.search_runs([store.experiment])
    children = [run for run in runs if run.data.tags.get("kind") != "sweep"]
    (parent,) = [run for run in runs if run.data.tags.get("kind") == "sweep"]
    assert [run.info.status for run in children] == ["FINISHED"] * 12
    assert len({run.data.tags["identity"] for run in children}) == 12
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.data.metrics["runs/finished"] == 12


def on_sqlite(folder, request):
    return []


def on_postgresql(folder, request):
    """A database each: Optuna and MLflow keep their versions under the same table's name."""
    import psycopg

    url = request.getfixturevalue("postgres_url")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE trials")
    trials = url.rpartition("/")[0] + "/trials"
    return [f"tracking.uri={url}", f"hydra.sweeper.storage={trials}"]


@pytest.mark.parametrize(("count", "place"), [(2, on_sqlite), (4, on_postgresql)])
def test_commands_at_work_on_one_study_run_each_trial_once(tmp_path, request, small, count, place):
    command = [
        sys.executable, "bench/run.py", "+sweep=curvature", SEEDS, "hydra/launcher=basic", *small,
        f"tracking.folder={tmp_path}", *place(tmp_path, request),
    ]  # fmt: skip
    workers = [
        subprocess.Popen(
            command,
            cwd=PROJECT,
            env=ENVIRONMENT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(count)
    ]
    printed = [worker.communicate(timeout=400) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * count, printed
    assert "database is locked" not in str(printed)
    counts = [int(re.search(r"12 different runs: (\d+) done now", out)[1]) for out, _ in printed]
    assert sum(counts) == 12 and all(counts)
    assert len({(r["curvature"], r["seed"]) for r in records_of(tmp_path)}) == 12
    uri = next((a.partition("=")[2] for a in command if a.startswith("tracking.uri")), None)
    store = Store(tmp_path, uri, "hyplora-bench")
    runs = store.client.search_runs([store.experiment])
    children = [run for run in runs if run.data.tags.get("kind") != "sweep"]
    assert [run.info.status for run in children] == ["FINISHED"] * 12
