"""MLflow's web interface of the recorded runs.

Columns, order and filter are stored with the experiment as shared views, so that a link opens the
same page in any browser and on any server.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.errors import Failure, InputError, without_secrets
from bench.tracking.backend import NothingRecorded, scheme
from bench.tracking.reader import reported
from bench.tracking.store import Store

HOST = "127.0.0.1"
PORT = 5000  # MLflow's default
START_TIMEOUT = 180  # seconds; importing MLflow can take half a minute
STOP_TIMEOUT = 10

# By key in a link: name in MLflow's menu, columns with widths in pixels (of 1280), order, filter.
VIEWS: Mapping[str, Mapping[str, Any]] = {
    "runs": {
        "name": "Runs by accuracy",
        "columns": {
            "tags.`method`": 84,
            "tags.`curvature`": 76,
            "tags.`model`": 60,
            "tags.`seed`": 50,
            "metrics.`accuracy/micro`": 118,
            "metrics.`seconds/finetune`": 112,
            "metrics.`seconds/evaluate`": 112,
        },
        "order": "metrics.`accuracy/micro`",
        "filter": "",
    },
    "sweeps": {
        "name": "Sweeps",
        "columns": {
            "metrics.`runs/finished`": 110,
            "metrics.`runs/failed`": 100,
            "attributes.`Description`": 420,
        },
        "order": "attributes.start_time",
        "filter": "tags.kind = 'sweep'",
    },
}


@dataclass(frozen=True)
class DashboardSettings:
    """The port to listen on; None: `PORT`, or a free one if it is in use."""

    port: int | None = None


def save_views(store: Store) -> None:
    """Store the views with the experiment, in the form of MLflow 3's shared views."""
    # Not the page for chat models.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    for key, view in VIEWS.items():
        state = {
            "selectedColumns": list(view["columns"]),
            "columnOrder": list(view["columns"]),
            "columnWidths": view["columns"],
            "searchFilter": view["filter"],
            "orderByKey": view["order"],
            "orderByAsc": False,
        }
        kept = {"name": view["name"], "createdAt": round(time.time() * 1000)}
        kept["state"] = json.dumps(state)
        tags[f"mlflow.sharedViewState.{key}"] = json.dumps(kept)
    for tag, value in tags.items():
        store.client.set_experiment_tag(store.experiment, tag, value)


def link(address: str, experiment: str, view: str) -> str:
    """The address of a view, a key of `VIEWS`, on a server."""
    query = urllib.parse.urlencode({"workflowType": "machine_learning", "viewStateShareKey": view})
    return f"{address.rstrip('/')}/#/experiments/{experiment}/runs?{query}"


def free_port(wanted: int | None) -> int:
    """The given port if it is free; None: `PORT`, or if that is in use any free one."""
    reason: Exception | None = None
    for port in (PORT, 0) if wanted is None else (wanted,):
        try:
            with socket.create_server((HOST, port)) as probe:
                return int(probe.getsockname()[1])
        except (OSError, OverflowError) as error:
            reason = error
    raise InputError(f"action.port={wanted} can't be used: {reason}; omit it to use a free port")


@contextmanager
def served(store: Store, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run MLflow's server within the block; it is ready when the block begins."""
    environment = os.environ | {
        # Not on the command line, where all users can read its password.
        "MLFLOW_BACKEND_STORE_URI": store.uri,
        # Eight processes and 2 GB for the evaluation of chat models.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)),
        *("--workers", "1", "--uvicorn-opts", "--log-level warning"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    with tempfile.TemporaryFile() as log:
        # In a process group of its own: it has a child, and Ctrl-C must reach this process only.
        server = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, process_group=0
        )
        try:
            _await(server, f"http://{HOST}:{port}/health", log)
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(STOP_TIMEOUT)
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _await(server: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy: local
    while server.poll() is None and time.monotonic() < deadline:
        try:
            return opener.open(url, timeout=5).close()
        except OSError:
            time.sleep(0.2)
    log.seek(0)
    last = log.read().decode(errors="replace").strip().splitlines()[-5:]
    raise Failure("\n".join(["MLflow's server did not start. Its last output:", *last]))


@reported
def dashboard(folder: Path, uri: str | None, experiment: str, port: int | None) -> str:
    """Serve the runs on this machine until Ctrl-C; for an MLflow server, only print the links.

    Returns a summary in one line.

    Raises:
        InputError: there are no runs, or the port can't be used.
        Failure: MLflow's server did not start, or ended unexpectedly.
    """
    remote = uri is not None and scheme(uri).startswith("http")
    port = 0 if remote else free_port(port)
    try:
        store = Store(folder, uri, experiment, create=False)
        if not store.client.search_runs([store.experiment], max_results=1):
            raise NothingRecorded
    except NothingRecorded as error:
        raise InputError(
            f"there are no runs in {without_secrets(uri) or folder}: run something first, e.g. "
            "make reproduce-table2, or python bench/run.py method=hyplora"
        ) from error
    save_views(store)
    if remote:
        _print_links(store, str(without_secrets(uri)))
        return "these are links to a running server; nothing was started"
    print("starting MLflow ...", flush=True)
    with served(store, folder, port) as server:
        _print_links(store, f"http://{HOST}:{port}")
        print("Ctrl-C stops it", flush=True)
        try:
            code = server.wait()
        except KeyboardInterrupt:
            print()  # after the terminal's ^C
            return "MLflow stopped"
    raise Failure(f"MLflow's server ended unexpectedly with exit code {code}")


def _print_links(store: Store, address: str) -> None:
    print(f"MLflow over {without_secrets(store.uri)}: {address}")
    for key, view in VIEWS.items():
        print(f"  {view['name']}: {link(address, store.experiment, key)}", flush=True)
