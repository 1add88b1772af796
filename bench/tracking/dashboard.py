"""MLflow's web page of the recorded runs.

Columns, order and filter come from a view that is stored with the experiment, so that a link opens
the same page in any browser and on any server.
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

from bench.errors import Failure, InputError
from bench.tracking.backend import scheme, without_password
from bench.tracking.store import Store

HOST = "127.0.0.1"
PORT = 5000  # MLflow's own; README.md links to it
STARTS_WITHIN = 180  # seconds; MLflow takes half a minute to import on a busy machine
ENDS_WITHIN = 10

METHOD, CURVATURE, MODEL, SEED = (
    f"tags.`{key}`" for key in ("method", "curvature", "model", "seed")
)
ACCURACY, FINETUNE, EVALUATE = (
    f"metrics.`{key}`" for key in ("accuracy/micro", "seconds/finetune", "seconds/evaluate")
)
DONE, FAILED = (f"metrics.`runs/{key}`" for key in ("finished", "failed"))
NOTE = "attributes.`Description`"

# By the key in a link: the name in MLflow's menu, columns with their widths in pixels (a window has
# 1280), order and filter.
VIEWS: Mapping[str, Mapping[str, Any]] = {
    "runs": {
        "name": "Runs by accuracy",
        "columns": {
            METHOD: 84, CURVATURE: 76, MODEL: 60, SEED: 50,
            ACCURACY: 118, FINETUNE: 112, EVALUATE: 112,
        },
        "order": ACCURACY,
        "filter": "",
    },
    "sweeps": {
        "name": "Sweeps",
        "columns": {DONE: 110, FAILED: 100, NOTE: 420},
        "order": "attributes.start_time",
        "filter": "tags.kind = 'sweep'",
    },
}  # fmt: skip


@dataclass(frozen=True)
class DashboardSettings:
    """How the page is served.

    Attributes:
        port: to listen on; None: `PORT`, or a free one if that is taken.
    """

    port: int | None = None


def save_views(store: Store) -> None:
    """Store the views with the experiment, as MLflow 3 stores those that a user saves."""
    now = round(time.time() * 1000)
    for key, view in VIEWS.items():
        state = {
            "selectedColumns": list(view["columns"]),
            "columnOrder": list(view["columns"]),
            "columnWidths": dict(view["columns"]),
            "searchFilter": view["filter"],
            "orderByKey": view["order"],
            "orderByAsc": False,
        }
        saved = {"name": view["name"], "createdAt": now, "state": json.dumps(state)}
        tag = f"mlflow.sharedViewState.{key}"
        store.client.set_experiment_tag(store.experiment, tag, json.dumps(saved))
    # By default the page shows what is for chat models.
    store.client.set_experiment_tag(
        store.experiment, "mlflow.experimentKind", "custom_model_development"
    )


def link(address: str, experiment: str, view: str) -> str:
    """The address of a view.

    Args:
        address: of the server.
        experiment: its id.
        view: a key of `VIEWS`.
    """
    query = urllib.parse.urlencode({"workflowType": "machine_learning", "viewStateShareKey": view})
    return f"{address.rstrip('/')}/#/experiments/{experiment}/runs?{query}"


def free_port(wanted: int | None) -> int:
    """A port to listen on: the wanted one, else `PORT`, else any.

    Raises:
        InputError: the wanted one is taken or invalid.
    """
    if wanted is not None and not 0 < wanted < 65536:
        raise InputError(f"action.port is a number from 1 to 65535, got {wanted}")
    for port in (wanted or PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
            except OSError as error:
                if wanted is not None:
                    raise InputError(
                        f"action.port={wanted} can't be used: {error.strerror}; leave it out for a "
                        "free one"
                    ) from error
    raise Failure(f"no port of {HOST} is free")


@contextmanager
def served(store: Store, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server of a store, ready when the block begins and stopped when it ends.

    Args:
        store: sqlite or a database.
        folder: the results folder.
        port: to listen on.

    Raises:
        Failure: it did not start.
    """
    environment = os.environ | {
        # Not on the command line, where all users can read its password.
        "MLFLOW_BACKEND_STORE_URI": store.uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Eight processes and 2 GB for the evaluation of chat models.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)),
        *("--workers", "1", "--uvicorn-opts", "--log-level warning"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    with tempfile.TemporaryFile() as log:
        # Its own process group: it has a child, and Ctrl-C is for this process alone.
        server = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, process_group=0
        )
        try:
            _await(server, f"http://{HOST}:{port}/health", log)
            yield server
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(ENDS_WITHIN)
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _await(server: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
    ends = time.monotonic() + STARTS_WITHIN
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is this machine
    while server.poll() is None and time.monotonic() < ends:
        try:
            opener.open(url, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines()[-5:]
    raise Failure("\n".join(["MLflow's server did not start. Its last output:", *said]))


def dashboard(folder: Path, uri: str | None, experiment: str, port: int | None) -> str:
    """Serve the runs on this machine until Ctrl-C; for an MLflow server, only print the links.

    Args:
        folder: the results folder.
        uri: of the store, as `tracking.uri`.
        experiment: its name there.
        port: to listen on; None: 5000, or a free one if that is taken.

    Returns:
        How it ended, in one line.

    Raises:
        InputError: there is no run to show, or the port can't be used.
        Failure: MLflow's server did not start, or ended unexpectedly.
    """
    nothing = InputError(
        f"there are no runs in {without_password(uri) or folder}: run something first, e.g. "
        "make reproduce-table2, or python bench/run.py method=hyplora"
    )
    if uri is None and not (folder / "mlflow.db").is_file():
        raise nothing
    remote = uri is not None and scheme(uri).startswith("http")
    port = None if remote else free_port(port)
    store = Store(folder, uri, experiment)
    if not store.client.search_runs([store.experiment], max_results=1):
        raise nothing
    save_views(store)
    if remote:
        _print_links(store, str(without_password(uri)))
        return "that server keeps running; nothing was started here"
    assert port is not None
    print("starting MLflow ...", flush=True)
    with served(store, folder, port) as server:
        _print_links(store, f"http://{HOST}:{port}")
        print("Ctrl-C stops it", flush=True)
        try:
            code = server.wait()
        except KeyboardInterrupt:
            print()  # after the terminal's ^C
            return "MLflow stopped"
    raise Failure(f"MLflow's server ended unexpectedly, with code {code}")


def _print_links(store: Store, address: str) -> None:
    print(f"MLflow over {without_password(store.uri)}: {address}")
    for key, view in VIEWS.items():
        print(f"  {view['name']}: {link(address, store.experiment, key)}")
    sys.stdout.flush()
