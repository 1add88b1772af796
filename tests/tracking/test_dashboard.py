"""The dashboard: its stored views, and MLflow's server."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

from bench.config import PROJECT
from bench.errors import InputError
from bench.tracking.dashboard import HOST, VIEWS, free_port, link, save_views
from bench.tracking.store import Store
from tests.helpers import refused

COLUMNS = ("method", "curvature", "model", "seed", "accuracy/micro", "seconds/finetune")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path, None, "hyplora-bench")
    run = store.start("abc", "hyplora K=1 seed 0", {})
    for key, value in zip(COLUMNS, ("hyplora", "1.0", "tiny", "0"), strict=False):
        store.client.set_tag(run, key, value)
    for key in (*COLUMNS[4:], "seconds/evaluate"):
        store.client.log_metric(run, key, 61.5)
    store.client.set_terminated(run, "FINISHED")
    store.sweep("sweep-1", "table2", {})
    return store


def test_views_are_stored_with_the_experiment(store):
    save_views(store)
    save_views(store)
    tags = store.client.get_experiment(store.experiment).tags
    view = json.loads(tags["mlflow.sharedViewState.runs"])
    assert (view["name"], type(view["createdAt"])) == ("Runs by accuracy", int)
    shown = " ".join(json.loads(view["state"])["selectedColumns"])
    assert all(f"`{column}`" in shown for column in COLUMNS)
    assert len([tag for tag in tags if tag.startswith("mlflow.sharedViewState.")]) == len(VIEWS)


def test_a_port_in_use_is_replaced_or_refused(monkeypatch):
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        used = other.getsockname()[1]
        monkeypatch.setattr("bench.tracking.dashboard.PORT", used)
        assert free_port(None) not in (used, 0)
        with pytest.raises(InputError, match=f"action.port={used} can't be used"):
            free_port(used)
    with pytest.raises(InputError, match="port must be 0-65535"):
        free_port(70000)


def test_without_runs_the_error_has_a_command_to_run(inline, tmp_path):
    Store(tmp_path / "empty", None, "hyplora-bench")
    for folder in (tmp_path / "none", tmp_path / "empty"):
        result = inline("action=dashboard", results=folder)
        refused(result, "there are no runs")
        assert "make reproduce-table2" in result.stderr
    assert not (tmp_path / "none").exists()


@pytest.fixture
def running(store, tmp_path):
    """The process of `make dashboard`, and its output up to the links."""
    command = [sys.executable, "bench/run.py", "action=dashboard", f"tracking.folder={tmp_path}"]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    timeout = threading.Timer(240, process.terminate)
    timeout.start()
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith("Ctrl-C"):
            break
    try:
        yield process, lines
    finally:
        timeout.cancel()
        process.terminate()  # a kill would leave the server behind
        process.wait(timeout=60)


@pytest.mark.slow  # MLflow's server takes 20 s to start
def test_the_server_listens_locally_and_ctrl_c_stops_it(running, inline, tmp_path):
    process, lines = running
    assert process.poll() is None, lines
    address = next(line for line in lines if line.startswith("MLflow over")).split(": ")[-1]
    assert address.startswith(f"http://{HOST}:")
    with urllib.request.urlopen(f"{address}/health", timeout=30) as answer:
        assert answer.read() == b"OK"
    result = inline("action=dashboard", f"tracking.uri={address}", results=tmp_path / "elsewhere")
    assert result.code == 0 and link(address, "1", "runs") in result.stdout
    port = int(address.rpartition(":")[2])
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(timeout=60) == 0
    assert "Traceback" not in rest and rest.strip().endswith("MLflow stopped")
    with socket.socket() as probe:
        assert probe.connect_ex((HOST, port)) != 0


@pytest.mark.slow
def test_the_link_opens_the_runs_with_the_columns_of_the_view(running):
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
