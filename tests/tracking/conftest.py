"""Servers of the tests' own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.errors import InputError
from bench.tracking.store import Store


@pytest.fixture
def fresh_database(postgres_url: str) -> str:
    """The address of an empty database on PostgreSQL."""
    import sqlalchemy

    name = f"test_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgres_url.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[[Path], Store]]:
    """A function that opens, from a results folder, the store behind an MLflow server.

    The server keeps files in `kept/` of the test's own folder.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "kept")]

    def opened(folder: Path) -> Store:
        for _ in range(120):
            try:
                return Store(folder, f"http://127.0.0.1:{port}", "test")
            except InputError:
                time.sleep(1)
        raise AssertionError(f"nothing answers at port {port}")

    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield opened
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)
