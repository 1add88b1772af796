"""Opens an experiment in MLflow's store: sqlite in the results folder, PostgreSQL, or a server."""

from __future__ import annotations

import logging
import os
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.errors import InputError, disk_is_full, unknown

UNUSED = "Default"  # an experiment that MLflow creates itself
# Checks that a database answers; on PostgreSQL it also takes a lock that all its users share.
CHECKS = {"sqlite": "PRAGMA schema_version", "postgresql": "SELECT pg_advisory_lock(241004010)"}
SCHEMES = (*CHECKS, "http", "https")
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # By default, a server that is gone is retried for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class NothingRecorded(LookupError):
    """There is no store, or no experiment in it."""


def open_experiment(folder: Path, uri: str | None, name: str, create: bool) -> tuple[Any, Any]:
    """An MLflow client, and MLflow's experiment of a name.

    Args:
        folder: the results folder, for sqlite and artifacts.
        uri: `postgresql://...`, `http://HOST:PORT`, `sqlite:///FILE`, or None for sqlite in the
            folder.
        name: of the experiment.
        create: whether to create what does not exist.

    Raises:
        InputError: the uri is of another kind, can't be opened, or the experiment is one whose
            files only a server can reach.
        NothingRecorded: it does not exist, and `create` is False.
    """
    folder = folder.resolve()
    uri = uri or f"sqlite:///{folder / 'mlflow.db'}"
    shown = without_password(uri)
    if scheme(uri) not in SCHEMES:
        raise unknown("kind of tracking.uri", scheme(uri), SCHEMES)
    if not create and is_absent(uri):
        raise NothingRecorded(f"there is no {shown}")
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from mlflow import MlflowClient, MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    artifacts = None if scheme(uri).startswith("http") else (folder / "artifacts").as_uri()
    try:
        with exclusive(uri, folder / "mlflow.lock"):
            client = MlflowClient(uri)
            return client, _experiment(client, name, artifacts, create)
    except ModuleNotFoundError as error:
        raise InputError(
            "tracking.uri=postgresql://... needs the extra [postgres]: "
            ".venv/bin/pip install -e '.[postgres]'"
        ) from error
    except (SQLAlchemyError, MlflowException) as error:
        if disk_is_full(error):
            raise
        raise InputError(
            f"the tracking store, tracking.uri={shown}, can't be opened: {_cause(error)}. A "
            "damaged sqlite file can be moved away: a new one is created. docs/scale-out.md has "
            "the commands that start a server; tracking.uri=null uses sqlite in the results folder"
        ) from error


def scheme(uri: str) -> str:
    """`postgresql` of `postgresql+psycopg://...`.

    Raises:
        InputError: it is not a valid address.
    """
    try:
        return urllib.parse.urlsplit(uri).scheme.split("+")[0]
    except ValueError as error:
        raise InputError(f"tracking.uri is not a valid address: {error}") from error


def is_absent(uri: str) -> bool:
    """Whether it is a sqlite file that does not exist."""
    if scheme(uri) != "sqlite":
        return False
    import sqlalchemy

    return not Path(sqlalchemy.make_url(uri).database or "").is_file()


def without_password(uri: str | None) -> str | None:
    """A uri with its password masked."""
    if uri is None:
        return None
    parts = urllib.parse.urlsplit(uri)
    if parts.password is None:
        return uri
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}").geturl()


@contextmanager
def exclusive(uri: str, lock: Path) -> Iterator[None]:
    """Held while tables and experiment are created: two migrations at once break each other.

    It raises at once if the database can't be used; MLflow would try again for two minutes.
    """
    import sqlalchemy

    with FileLock(lock):
        if check := CHECKS.get(scheme(uri)):
            engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text(check))
                yield  # closing the connection releases the lock
        else:
            yield


def _experiment(client: Any, name: str, artifacts: str | None, create: bool) -> Any:
    from mlflow import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None and not create:
        known = [e.name for e in client.search_experiments() if e.name != UNUSED]
        if known:
            raise unknown("tracking.experiment", name, known)
        raise NothingRecorded(f"{without_password(client.tracking_uri)} has no experiments")
    if found is None:
        try:
            return client.get_experiment(client.create_experiment(name, artifacts))
        except MlflowException:
            # Another process may have created it in between.
            if not (found := client.get_experiment_by_name(name)):
                raise
    if artifacts and found.artifact_location.startswith("mlflow-artifacts:"):
        raise InputError(
            f"the experiment {name} was created by an MLflow server, which keeps its files: give "
            "tracking.uri=http://HOST:PORT of that server, or another tracking.experiment=NAME"
        )
    return found


def _cause(error: BaseException) -> str:
    """The message of the first error in a chain, in one line."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return " ".join(str(error).split())
