"""Databases and servers of single tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.tracking import dashboard
from bench.tracking.dashboard import HOST, free_port
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
    port, behind = free_port(0), SimpleNamespace(uri=f"sqlite:///{tmp_path / 'server.db'}")
    (tmp_path / "kept").mkdir()
    with dashboard.served(behind, tmp_path / "kept", port):
        yield lambda folder: Store(folder, f"http://{HOST}:{port}", "test")
