"""Opens an experiment in MLflow's store: sqlite in the results folder, PostgreSQL, or a server."""

from __future__ import annotations

import logging
import os
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import InputError, disk_is_full, missing_extra, unknown, without_secrets
from bench.files import acquire, locked, sqlite_url, this_process

STORE = "the tracking store"  # in messages
UNUSED = "Default"  # an experiment that MLflow creates itself
FIRST_TABLES = {"alembic_version", "experiments", "metrics", "params", "runs", "tags"}
DATABASES = ("sqlite", "postgresql")
SCHEMES = (*DATABASES, "http", "https")
KEY = 241004010  # of a lock that all users of a PostgreSQL database share
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # By default, a server that is gone is retried for minutes. One that hangs is reported after two
    # tries, 5 s each; one retry bridges a proxy's short errors.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
UPLOAD = 1e6  # bytes per second at least, and the server's time to store them


class NothingRecorded(LookupError):
    """There is no store, or no experiment in it."""


def open_experiment(folder: Path, uri: str | None, name: str, create: bool) -> tuple[Any, Any]:
    """An MLflow client, and MLflow's experiment of a name.

    Args:
        folder: the results folder, for sqlite and artifacts.
        uri: `postgresql://...`, `http://HOST:PORT`, `sqlite:///FILE`, or None for sqlite in the
            folder.
        name: name of the experiment.
        create: whether to create what does not exist.

    Raises:
        InputError: the uri can't be used, or only a server can reach the experiment's files.
        NothingRecorded: it does not exist, and `create` is False.
    """
    folder, own = folder.resolve(), uri is None
    uri = uri or sqlite_url(folder / "mlflow.db")
    shown = without_secrets(uri)
    if scheme(uri) not in SCHEMES:
        raise unknown("kind of tracking.uri", scheme(uri), SCHEMES)
    if scheme(uri) == "sqlite" and not (sqlite_file(uri).is_file() or create):
        raise NothingRecorded(f"there is no {shown}")
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from alembic.util import CommandError
    from mlflow import MlflowClient, MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    artifacts = None if scheme(uri).startswith("http") else folder / "artifacts"
    try:
        with exclusive(uri, folder):
            if scheme(uri) == "sqlite":
                _create_tables(uri, folder / "artifacts")
            client = MlflowClient(uri)
            found = _experiment(client, name, artifacts, create)
            if artifacts and _moved(found, artifacts, own, create):
                _move(uri, found.experiment_id, artifacts.as_uri())
                found = client.get_experiment(found.experiment_id)
            return client, found
    except ModuleNotFoundError as error:
        raise missing_extra("tracking.uri=postgresql://...", "postgres") from error
    except (SQLAlchemyError, CommandError, MlflowException) as error:
        if disk_is_full(error):
            raise
        raise InputError(
            f"the tracking store, tracking.uri={shown}, can't be opened: {cause_of(error)}. A "
            "damaged sqlite file can be moved away: a new one is created. docs/scale-out.md has "
            "the commands that start a server; tracking.uri=null uses sqlite in the results folder"
        ) from error


def scheme(uri: str) -> str:
    """`postgresql` of `postgresql+psycopg://...`."""
    try:
        return urllib.parse.urlsplit(uri).scheme.split("+")[0]
    except ValueError as error:
        raise InputError(f"tracking.uri is not a valid address: {error}") from error


def sqlite_file(uri: str) -> Path:
    """The file of a sqlite address."""
    import sqlalchemy

    name = sqlalchemy.make_url(uri).database
    if name in (None, "", ":memory:"):
        raise InputError(f"tracking.uri={uri} does not name a file: give sqlite:////FOLDER/FILE")
    return Path(str(name))


@contextmanager
def patience(path: Path) -> Iterator[None]:
    """Give a server more time to answer while a large file, or the files of a folder, are sent."""
    key = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    before = os.environ[key]
    os.environ[key] = str(int(before) + int(size / UPLOAD))
    try:
        yield
    finally:
        os.environ[key] = before


@contextmanager
def exclusive(uri: str, folder: Path) -> Iterator[None]:
    """Held while tables and experiment are created: two migrations at once break each other.

    Several results folders may use a database: the lock of a sqlite file is next to it, if it can
    be. It raises at once if the database can't be used; MLflow would try again for two minutes.
    """
    import sqlalchemy

    place = folder / "mlflow.db"
    if scheme(uri) in DATABASES:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    if scheme(uri) == "sqlite":
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("PRAGMA schema_version"))
        if os.access(sqlite_file(uri).parent, os.W_OK):
            place = sqlite_file(uri).resolve()
    with locked(place.with_suffix(".lock"), STORE):
        if scheme(uri) != "postgresql":
            yield
            return
        with engine.connect() as connection:
            _lock_database(connection)
            yield  # closing the connection releases the lock


def _lock_database(connection: Any) -> None:
    """Take the lock that all users of a PostgreSQL database share.

    The holder's name is that of its connection, in its first 63 bytes.
    """
    import sqlalchemy

    def ask(statement: str, **values: Any) -> Any:
        return connection.execute(sqlalchemy.text(statement), values).scalar()

    ask("SELECT set_config('application_name', :name, false)", name=this_process())
    acquire(
        STORE,
        lambda: ask("SELECT pg_try_advisory_lock(:key)", key=KEY),
        lambda: ask(
            "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND objid = :key AND granted LIMIT 1",
            key=KEY,
        ),
    )


def _create_tables(uri: str, artifacts: Path) -> None:
    """Create the tables of a sqlite file if it lacks some.

    A file without runs whose creation was interrupted is created again.
    """
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 -- defines the tables
    import sqlalchemy
    from mlflow.store.db import utils

    path = sqlite_file(uri)
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        tables = set(sqlalchemy.inspect(connection).get_table_names())
        first = sqlalchemy.text("SELECT 1 FROM runs LIMIT 1")
        runs = "runs" in tables and connection.execute(first).first() is not None
    if runs:
        if not utils._all_tables_exist(engine):
            migrate(path, artifacts, keep=True)
    elif not tables or (
        tables & FIRST_TABLES
        and utils._get_schema_version(engine) != utils._get_latest_schema_revision()
    ):
        migrate(path, artifacts)


def migrate(path: Path, artifacts: Path, keep: bool = False) -> None:
    """Create a sqlite file with MLflow's tables, or with `keep` add those that it lacks.

    A temporary file takes its place at the end: MLflow's migrations are not atomic.

    Raises:
        InputError: they can't be added, since another migration was interrupted.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for stale in path.parent.glob(f".{path.name}.*.partial*"):
        stale.unlink()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    if keep:
        shutil.copyfile(path, partial)
    try:
        SqlAlchemyStore(sqlite_url(partial), artifacts.as_uri()).engine.dispose()
    except Exception as error:  # alembic and MLflow raise anything
        if not keep or disk_is_full(error):
            raise
        partial.unlink()
        raise InputError(
            f"the tracking store {path} lacks tables: an earlier migration was interrupted "
            f"({cause_of(error)}). Restore a backup, or move the file away and run again"
        ) from error
    partial.replace(path)


def _moved(experiment: Any, artifacts: Path, own: bool, create: bool) -> bool:
    """Whether an experiment's files are in the results folder, but recorded elsewhere.

    Locations are absolute, and the folder may have been moved or copied.

    Raises:
        InputError: a database that several results folders use keeps the files in another one.
    """
    from mlflow.utils.file_utils import local_file_uri_to_path

    recorded = Path(local_file_uri_to_path(experiment.artifact_location))
    if recorded == artifacts:
        return False
    if own or not recorded.exists():
        return True
    if create:
        raise InputError(
            f"the experiment {experiment.name} keeps its files in {recorded}, outside of "
            f"tracking.folder={artifacts.parent}: give tracking.folder={recorded.parent}, or "
            "another tracking.experiment=NAME"
        )
    return False


def _move(uri: str, experiment: str, artifacts: str) -> None:
    """Record another location of an experiment's files."""
    import sqlalchemy

    values = {"id": int(experiment), "place": artifacts}
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        for statement in (
            "UPDATE experiments SET artifact_location = :place WHERE experiment_id = :id",
            "UPDATE runs SET artifact_uri = :place || '/' || run_uuid || '/artifacts' "
            "WHERE experiment_id = :id",
        ):
            connection.execute(sqlalchemy.text(statement), values)


def _experiment(client: Any, name: str, artifacts: Path | None, create: bool) -> Any:
    from mlflow import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None and not create:
        known = [e.name for e in client.search_experiments() if e.name != UNUSED]
        if known:
            raise unknown("tracking.experiment", name, known)
        raise NothingRecorded(f"{without_secrets(client.tracking_uri)} has no experiments")
    if found is None:
        try:
            place = artifacts and artifacts.as_uri()
            return client.get_experiment(client.create_experiment(name, place))
        except MlflowException:
            # Another process may have created it in between.
            if not (found := client.get_experiment_by_name(name)):
                raise
    if found.lifecycle_stage != "active":
        raise InputError(
            f"the experiment {name} was deleted in MLflow: restore it with MLFLOW_TRACKING_URI="
            f"{without_secrets(client.tracking_uri)} mlflow experiments restore --experiment-id "
            f"{found.experiment_id}, or give another tracking.experiment=NAME"
        )
    if artifacts and found.artifact_location.startswith("mlflow-artifacts:"):
        raise InputError(
            f"the experiment {name} was created by an MLflow server, which keeps its files: give "
            "tracking.uri=http://HOST:PORT of that server, or another tracking.experiment=NAME"
        )
    return found


def cause_of(error: BaseException) -> str:
    """The message of the first error in a chain, in one line."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return " ".join(str(error).split())
