"""The store on each of its backends, also used by several processes at once."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.errors import InputError
from bench.tracking import backend
from bench.tracking.store import Store

MIGRATE = backend.migrate  # which a fixture replaces

# What a run does with the record, many times over and with nothing in between.
HAMMER = """
import sys, pathlib
from bench.tracking.store import Store
folder, uri, worker, runs = sys.argv[1:]
store = Store(pathlib.Path(folder), uri or None, "hammer")
for number in range(int(runs)):
    identity = f"{worker}-{number}"
    assert store.finished(identity) is None
    run = store.start(identity, identity, {f"setting{i}": i for i in range(40)})
    store.fail(run, "FAILED", "for once")
    assert store.start(identity, identity, {"one_more": 1}) == run
    from mlflow.entities import Metric
    store.client.log_batch(run, metrics=[Metric("loss", i, 0, i) for i in range(100)])
    store.client.set_terminated(run, "FINISHED")
"""


def hammer(folders, uri, runs):
    """The ids of all runs after a process for each folder made `runs` of them; none may fail."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(folder), uri or "", str(worker), str(runs)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for worker, folder in enumerate(folders)
    ]
    output = "".join(process.communicate(timeout=200)[0] for process in processes)
    assert [process.returncode for process in processes] == [0] * len(folders), output
    assert "locked" not in output and "OperationalError" not in output
    store = Store(folders[0], uri, "hammer")
    return {store.finished(f"{w}-{n}") for w in range(len(folders)) for n in range(runs)}


def test_two_processes_on_sqlite_lose_nothing_and_are_never_locked_out(tmp_path):
    found = hammer([tmp_path, tmp_path], None, runs=6)
    assert None not in found and len(found) == 12


@pytest.mark.slow
def test_four_processes_make_a_fresh_postgresql_at_once_and_lose_nothing(tmp_path, fresh_database):
    folders = [tmp_path / str(worker) for worker in range(4)]  # as on machines that share none
    found = hammer(folders, fresh_database, runs=3)
    assert None not in found and len(found) == 12


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:9", "can't be opened: .*Connection refused"),
        ("sqlite:///{}/text", "can't be opened: file is not a database"),
        ("postgres://127.0.0.1/x", "Did you mean postgresql"),
        ("results/mlflow.db", "unknown kind of tracking.uri"),
        ("sqlite://", "names no file"),
    ],
)
def test_a_store_that_cannot_be_opened_is_refused_at_once(tmp_path, uri, message):
    (tmp_path / "text").write_text("no database")
    with pytest.raises(InputError, match=message):
        Store(tmp_path, uri.format(tmp_path), "test")


def test_the_error_about_postgresql_has_no_password(tmp_path, postgres_url):
    with pytest.raises(InputError, match="can't be opened") as caught:
        Store(tmp_path, "postgresql://user:secret@127.0.0.1:9/runs", "test")
    assert "secret" not in str(caught.value)


def test_an_experiment_whose_files_a_server_keeps_is_refused_without_it(tmp_path):
    uri = f"sqlite:///{tmp_path / 'server.db'}"
    Store(tmp_path, uri, "mine").client.create_experiment(
        "served", artifact_location="mlflow-artifacts:/1"
    )
    with pytest.raises(InputError, match="by an MLflow server"):
        Store(tmp_path, uri, "served")


@pytest.mark.slow
def test_a_run_goes_through_a_server_and_back_with_its_files(tmp_path, served):
    store, folder = served(tmp_path / "results"), tmp_path / "run"
    folder.mkdir()
    (folder / "record.json").write_text('{"kept": true}')
    run = store.start("abc", "lora seed 0", {"seed": 0})
    store.client.log_artifact(run, str(folder / "record.json"))
    store.client.set_terminated(run, "FINISHED")
    assert served(tmp_path / "other").finished("abc") == run
    assert store.record(run) == {"kept": True}
    assert list((tmp_path / "kept").rglob("record.json"))
    assert not (tmp_path / "results" / "artifacts").exists()


def test_an_interrupted_migration_leaves_no_store_and_is_cleared_away(tmp_path, monkeypatch):
    path, made = tmp_path / "mlflow.db", []

    def migrating(uri, _):
        Path(uri.removeprefix("sqlite:///")).write_text("tables")
        made.append(uri)
        if len(made) == 1:
            raise KeyboardInterrupt
        return SimpleNamespace(engine=SimpleNamespace(dispose=lambda: None))

    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore", migrating)
    with pytest.raises(KeyboardInterrupt):
        MIGRATE(path, tmp_path)
    assert not path.exists()
    MIGRATE(path, tmp_path)
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "tables"


def half_migrated(folder, *statements):
    path = folder / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


RUNS = "CREATE TABLE runs (run_uuid TEXT)"


@pytest.mark.parametrize(
    "statements",
    [(), (RUNS,), (RUNS, "CREATE TABLE alembic_version (version_num TEXT)")],
)
def test_a_half_migrated_store_without_runs_is_created_again(tmp_path, statements):
    half_migrated(tmp_path, *statements)
    store = Store(tmp_path, None, "test")
    assert store.finished(store.start("abc", "lora", {})) is None


def test_a_half_migrated_store_with_runs_is_refused_and_not_changed(tmp_path, monkeypatch):
    path = half_migrated(
        tmp_path, RUNS, "INSERT INTO runs VALUES ('1')", "CREATE TABLE metrics (key TEXT)"
    )
    before = path.read_bytes()
    monkeypatch.setattr(backend, "migrate", MIGRATE)
    with pytest.raises(InputError, match="an earlier migration was interrupted"):
        Store(tmp_path, None, "test")
    assert path.read_bytes() == before and not list(tmp_path.glob("*.partial"))


def test_a_database_of_something_else_is_not_replaced(tmp_path, monkeypatch):
    half_migrated(tmp_path, "CREATE TABLE mine (work TEXT)")
    monkeypatch.setattr(backend, "migrate", None)
    backend._create_tables(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)


@pytest.fixture
def finished(tmp_path):
    """A function that records a finished run in a store; returns its id."""

    def finish(store, identity):
        folder = tmp_path / identity
        folder.mkdir()
        (folder / "record.json").write_text(f'{{"identity": "{identity}"}}')
        run = store.start(identity, "lora", {})
        store.client.log_artifact(run, str(folder / "record.json"))
        store.client.set_terminated(run, "FINISHED")
        return run

    return finish


@pytest.mark.parametrize("way", [shutil.move, shutil.copytree])
def test_moved_and_copied_results_keep_their_runs_and_write_into_their_own_folder(
    tmp_path, finished, way
):
    old, new = tmp_path / "old", tmp_path / "new"
    run = finished(Store(old, None, "test"), "first")
    way(old, new)
    before = sorted(old.rglob("*"))
    store = Store(new, None, "test")
    assert store.record(run) == {"identity": "first"}
    assert Path(store.download(run, "record.json", tmp_path)).is_file()
    added = finished(store, "second")
    assert (new / "artifacts" / added / "artifacts" / "record.json").is_file()
    assert sorted(old.rglob("*")) == before


def test_a_database_of_another_results_folder_is_read_but_not_written_to(tmp_path, finished):
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    run = finished(Store(tmp_path / "one", uri, "test"), "first")
    with pytest.raises(InputError, match=f"give tracking.folder={tmp_path / 'one'}"):
        Store(tmp_path / "other", uri, "test")
    store = Store(tmp_path / "other", uri, "test", create=False)
    assert store.record(run) == {"identity": "first"}


def test_an_experiment_that_was_deleted_in_mlflow_is_refused_with_the_command_to_restore_it(
    tmp_path,
):
    store = Store(tmp_path, None, "test")
    store.client.delete_experiment(store.experiment)
    command = f"mlflow experiments restore --experiment-id {store.experiment}"
    with pytest.raises(InputError, match=command):
        Store(tmp_path, None, "test")
