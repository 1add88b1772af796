"""MLflow's page over the recorded runs: what is kept for it, and the server itself."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from bench.errors import InputError
from bench.tracking.dashboard import HOST, VIEWS, free_port, link, save_views
from bench.tracking.store import Store

PROJECT = Path(__file__).resolve().parent.parent.parent
COLUMNS = ("method", "curvature", "model", "seed", "accuracy/micro", "seconds/finetune")


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path, None, "hyplora-bench")
    run = made.start("abc", "hyplora K=1 seed 0", {})
    for key, value in {
        "method": "hyplora",
        "curvature": "1.0",
        "model": "tiny",
        "seed": "0",
    }.items():
        made.client.set_tag(run, key, value)
    for key in ("accuracy/micro", "seconds/finetune", "seconds/evaluate"):
        made.client.log_metric(run, key, 61.5)
    made.client.set_terminated(run, "FINISHED")
    made.sweep("sweep-1", "table2", {})
    return made


def test_the_views_are_kept_with_the_experiment_as_mlflow_reads_them(store):
    save_views(store)
    save_views(store)
    tags = store.client.get_experiment(store.experiment).tags
    view = json.loads(tags["mlflow.sharedViewState.runs"])
    assert (view["name"], type(view["createdAt"])) == ("Runs by accuracy", int)
    shown = " ".join(json.loads(view["state"])["selectedColumns"])
    assert all(f"`{column}`" in shown for column in COLUMNS)
    assert len([tag for tag in tags if tag.startswith("mlflow.sharedViewState.")]) == len(VIEWS)


def test_a_link_names_experiment_and_view():
    assert link("http://127.0.0.1:5000", "1", "runs").startswith(
        "http://127.0.0.1:5000/#/experiments/1/runs?"
    )
    assert "viewStateShareKey=runs" in link("http://127.0.0.1:5000/", "1", "runs")


def test_another_port_is_taken_where_one_is_not_free(monkeypatch):
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr("bench.tracking.dashboard.PORT", taken)
        assert free_port(None) not in (taken, 0)
        with pytest.raises(InputError, match=f"action.port={taken} can't be used"):
            free_port(taken)


def test_no_store_and_an_empty_one_say_what_to_run_first(inline, tmp_path):
    for folder in (tmp_path / "none", tmp_path / "empty"):
        if folder.name == "empty":
            Store(folder, None, "hyplora-bench")
        told = inline("action=dashboard", results=folder)
        assert told.code == 2
        assert "there are no runs" in told.stderr and "make reproduce-table2" in told.stderr
    assert not (tmp_path / "none").exists()


def test_a_port_out_of_range_is_refused(inline, store, tmp_path):
    told = inline("action=dashboard", "action.port=70000", results=tmp_path)
    assert told.code == 2 and "1 to 65535" in told.stderr


@pytest.fixture
def running(store, tmp_path):
    """`make dashboard`'s command, its lines until the links are told, and the links."""
    command = [sys.executable, "bench/run.py", "action=dashboard", f"tracking.folder={tmp_path}"]
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    late = threading.Timer(240, process.terminate)
    late.start()
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith("Ctrl-C"):
            break
    try:
        yield process, lines
    finally:
        late.cancel()
        process.terminate()  # and with it the server, which a kill would leave behind
        process.wait(timeout=60)


@pytest.mark.slow  # MLflow's server starts for some 20 s
def test_the_server_answers_on_this_machine_alone_and_ctrl_c_ends_it(running, inline, tmp_path):
    process, lines = running
    assert process.poll() is None, lines
    address = next(line for line in lines if line.startswith("MLflow over")).split(": ")[-1]
    assert address.startswith(f"http://{HOST}:")
    with urllib.request.urlopen(f"{address}/health", timeout=30) as answer:
        assert answer.read() == b"OK"
    told = inline("action=dashboard", f"tracking.uri={address}", results=tmp_path / "elsewhere")
    assert told.code == 0 and link(address, "1", "runs") in told.stdout
    port = int(address.rpartition(":")[2])
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(timeout=60) == 0
    assert "Traceback" not in rest and rest.strip().endswith("MLflow stopped")
    with socket.socket() as probe:
        assert probe.connect_ex((HOST, port)) != 0


@pytest.mark.slow
def test_the_link_opens_the_list_of_runs_with_its_columns(running):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium is installed")
    from playwright.sync_api import sync_playwright

    url = next(line for line in running[1] if line.startswith("Runs by accuracy: ")).split(": ")[1]
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        broken = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(url)
        page.get_by_role("link", name="hyplora K=1 seed 0").wait_for(timeout=90_000)
        heads = page.get_by_role("columnheader").all_inner_texts()
        browser.close()
    assert set(COLUMNS) <= {head.strip() for head in heads}
    assert broken == []
