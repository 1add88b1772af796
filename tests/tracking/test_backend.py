"""The store on each of its backends, also used by several processes at once."""

import subprocess
import sys

import pytest

from bench.errors import InputError
from bench.tracking.backend import without_password
from bench.tracking.store import Store

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


def test_a_password_is_not_shown():
    assert without_password("postgresql://u:p:w@h:1/d?x=1") == "postgresql://u:***@h:1/d?x=1"
    assert without_password("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    assert without_password(None) is None
