"""The store on each of its backends, also used by several processes at once."""

import multiprocessing
import os
import shutil
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from bench import files
from bench.errors import InputError
from bench.runs.attempt import attempt
from bench.tracking import backend
from bench.tracking.backend import ENVIRONMENT, patience
from bench.tracking.reader import Unreachable
from bench.tracking.store import Store

MIGRATE = backend.migrate  # which a fixture replaces

CONTEXT = multiprocessing.get_context("fork")


def hammer(folder, uri, worker, runs):
    """What a run does with the store, many times over and with nothing in between."""
    store = Store(folder, uri, "hammer")
    for number in range(runs):
        identity = f"{worker}-{number}"
        assert store.finished(identity) is None
        run = store.start(identity, identity, {f"setting{i}": i for i in range(40)})
        store.fail(run, "FAILED", "for once")
        assert store.start(identity, identity, {"one_more": 1}) == run
        store.client.log_batch(run, metrics=[Metric("loss", i, 0, i) for i in range(100)])
        store.client.set_terminated(run, "FINISHED")


def hammered(folders, uri, runs):
    """The ids of all runs after a process for each folder made `runs` of them; none may fail."""
    processes = [
        CONTEXT.Process(target=hammer, args=(folder, uri, worker, runs))
        for worker, folder in enumerate(folders)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0] * len(folders)
    store = Store(folders[0], uri, "hammer")
    return {store.finished(f"{w}-{n}") for w in range(len(folders)) for n in range(runs)}


def test_results_folders_with_one_new_sqlite_file_share_its_lock(tmp_path):
    for name in ("one", "two"):
        Store(tmp_path / name, f"sqlite:///{tmp_path}/shared.db", name)
        assert not (tmp_path / name / "mlflow.lock").exists()
    assert (tmp_path / "shared.lock").is_file()


def test_two_processes_on_sqlite_lose_nothing_and_are_never_locked_out(tmp_path):
    found = hammered([tmp_path, tmp_path], None, runs=6)
    assert None not in found and len(found) == 12


@pytest.mark.slow
def test_four_processes_make_a_fresh_postgresql_at_once_and_lose_nothing(tmp_path, fresh_database):
    folders = [tmp_path / str(worker) for worker in range(4)]  # as on machines that share none
    found = hammered(folders, fresh_database, runs=3)
    assert None not in found and len(found) == 12


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:9", "can't be opened: .*Connection refused"),
        ("sqlite:///{}/text", "can't be opened: file is not a database"),
        ("postgres://127.0.0.1/x", "Did you mean postgresql"),
        *((uri, "unknown kind of tracking.uri") for uri in ("results/mlflow.db", "ftp://host/x")),
        ("http://[::1", "tracking.uri is not a valid address"),
        ("sqlite:////proc/x.db", "can't be opened: unable to open"),
        ("sqlite://", "does not name a file"),
    ],
)
def test_a_store_that_cannot_be_opened_is_refused_at_once(tmp_path, uri, message):
    (tmp_path / "text").write_text("no database")
    with pytest.raises(InputError, match=message):
        Store(tmp_path, uri.format(tmp_path), "test")


def test_an_experiment_whose_files_a_server_keeps_is_refused_without_it(tmp_path):
    uri = f"sqlite:///{tmp_path / 'server.db'}"
    Store(tmp_path, uri, "mine").client.create_experiment(
        "served", artifact_location="mlflow-artifacts:/1"
    )
    with pytest.raises(InputError, match="by an MLflow server"):
        Store(tmp_path, uri, "served")


@pytest.fixture
def hanging():
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_hangs_is_reported(tmp_path, hanging, monkeypatch):
    assert int(ENVIRONMENT["MLFLOW_HTTP_REQUEST_TIMEOUT"]) * 2 <= 10
    assert ENVIRONMENT["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match=r"can't be opened: .*[Tt]imed? ?out"):
        Store(tmp_path, hanging, "test")


def test_a_run_whose_store_hangs_at_the_end_is_kept_and_not_marked(tmp_path, hanging, monkeypatch):
    store = Store(tmp_path, None, "test")
    run, folder = store.start("abc", "lora", {}), tmp_path / "run"
    folder.mkdir()
    (folder / "record.json").write_text("{}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store.client = MlflowClient(hanging)
    with (
        pytest.raises(Unreachable, match=r"action=import action\.folder=results/runs/ID"),
        attempt(store, run, folder),
    ):
        store.finish(run, {}, folder)
    assert (folder / "record.json").is_file() and (folder / "failure.txt").is_file()
    assert Store(tmp_path, None, "test").attempt("abc").status == "RUNNING"  # no further wait


def test_a_process_that_waits_for_postgresql_says_for_whom(
    tmp_path, fresh_database, monkeypatch, capsys
):
    monkeypatch.setattr(files, "SILENT", 0.1)
    held = threading.Event()

    def hold():
        with backend.exclusive(fresh_database, tmp_path / "one"):
            held.set()
            time.sleep(1)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    with backend.exclusive(fresh_database, tmp_path / "other"):  # as on another machine
        holder.join()
    printed = capsys.readouterr().out
    assert printed.startswith(f"waiting for the tracking store, in use by process {os.getpid()} on")
    with backend.exclusive(fresh_database, tmp_path / "other"):
        pass
    assert not capsys.readouterr().out


def test_a_large_file_gives_a_server_more_time(tmp_path, monkeypatch):
    key = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    monkeypatch.setenv(key, "5")
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(30_000_000)
    for path in (tmp_path / "weights", tmp_path):
        with patience(path):
            assert os.environ[key] == "35"
    assert os.environ[key] == "5"


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
