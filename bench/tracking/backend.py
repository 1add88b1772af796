"""Backends of the tracking store: sqlite in the results folder, PostgreSQL, an MLflow server."""

from __future__ import annotations

import http.client
import sqlite3
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from bench.errors import InputError, unknown
from bench.files import sqlite_url

SCHEMES = ("http", "https", "postgresql", "sqlite")
PROBE_SECONDS = 30
# Number of a PostgreSQL advisory lock, which all users of a database share.
MAKING = 2410_04010


@dataclass(frozen=True)
class Backend:
    """A backend.

    Attributes:
        uri: what MLflow opens.
        artifacts: location of the runs' files; None if a server keeps them.
        lock: file locked while the tables are created, in addition to the database's own lock.
    """

    uri: str
    artifacts: str | None
    lock: Path

    @property
    def absent(self) -> bool:
        """Whether it is a sqlite file that does not exist."""
        if scheme(self.uri) != "sqlite":
            return False
        import sqlalchemy

        return not Path(sqlalchemy.make_url(self.uri).database or "").is_file()

    @contextmanager
    def making(self) -> Iterator[None]:
        """Held while tables and experiment are created: two migrations at once break each other.

        Raises:
            InputError: the backend can't be reached.
        """
        ready = {
            "postgresql": _advisory_lock,
            "http": _answering,
            "https": _answering,
            "sqlite": _readable,
        }
        with FileLock(self.lock), ready[scheme(self.uri)](self.uri):
            yield


def backend(folder: Path, uri: str | None) -> Backend:
    """The backend of a `tracking.uri`.

    Args:
        folder: the results folder, absolute.
        uri: `postgresql://...`, `http://HOST:PORT`, `sqlite:///FILE`, or None for sqlite in the
            folder.

    Raises:
        InputError: a uri of another kind.
    """
    lock = folder / "mlflow.lock"
    try:
        scheme(uri or "")
    except ValueError as error:
        raise InputError(f"tracking.uri is not a valid address: {error}") from error
    if uri is not None and scheme(uri) not in SCHEMES:
        raise unknown("kind of tracking.uri", scheme(uri), SCHEMES)
    uri = uri or sqlite_url(folder / "mlflow.db")
    served = scheme(uri).startswith("http")
    return Backend(uri, None if served else (folder / "artifacts").as_uri(), lock)


def scheme(uri: str) -> str:
    """`postgresql` of `postgresql+psycopg://...`."""
    return urllib.parse.urlsplit(uri).scheme.split("+")[0]


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
def _advisory_lock(uri: str) -> Iterator[None]:
    """PostgreSQL's own lock: workers on other machines may share no folder with this one."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
        connection = engine.connect()
    except ModuleNotFoundError as error:
        raise InputError(
            "tracking.uri=postgresql://... needs the extra [postgres]: "
            ".venv/bin/pip install -e '.[postgres]'"
        ) from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise _unreachable(uri, getattr(error, "orig", None) or error) from error
    with connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": MAKING})
        yield  # closing the connection releases the lock


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """The server answers. MLflow itself would retry for minutes and end in a long traceback."""
    parts = urllib.parse.urlsplit(uri)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        urllib.request.urlopen(f"{bare.rstrip('/')}/health", timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        pass
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        # MLflow's own settings decide on certificates.
        if not isinstance(reason, ssl.SSLError):
            raise _unreachable(uri, reason) from error
    yield


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    """The file is a database. MLflow itself would retry some others for two minutes."""
    import sqlalchemy

    path = sqlalchemy.make_url(uri).database
    try:
        with closing(sqlite3.connect(path or "")) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        raise InputError(
            f"the tracking store, tracking.uri={uri}, can't be used: {error}. If the file is "
            "damaged, move it away, and a new one is created"
        ) from error
    yield


def _unreachable(uri: str, reason: object) -> InputError:
    return InputError(
        f"tracking.uri={without_password(uri)} can't be reached: {' '.join(str(reason).split())}. "
        "docs/scale-out.md has the commands that start one; tracking.uri=null uses sqlite in the "
        "results folder"
    )
