import json
import subprocess

import pytest
from mlflow import MlflowClient, MlflowException

from bench.errors import Failure
from bench.files import write_json, write_text
from bench.tracking.contents import read_contents
from bench.tracking.dashboard import dashboard
from bench.tracking.provenance import git_state
from bench.tracking.reader import Unreachable
from bench.tracking.record import params, store_name
from bench.tracking.store import Store
from tests.report.score_runs import finished

RECORD = finished(
    correct=(6,),
    sets={"mawps": ("MAWPS", 12)},
    averages={"micro": 50.0, "macro": 50.0},
    nll={"micro": 0.25, "macro": None},
    seconds={"finetune": 1.5, "evaluate": None},
    rows={"train": 40},
    train={"epochs": 2.5},
    training={"losses": [(0, 2.0), (5, 1.0)], "validation": [(5, 1.1)], "padding": 0.25},
)
RECORD["scores"]["mawps"]["nll"] = 0.5


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", None, "test")


def files(tmp_path):
    folder = tmp_path / "run"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "predictions.jsonl").write_text("{}\n")
    write_json(folder / "record.json", RECORD)
    return folder


def test_a_finished_run_is_found_with_all_that_was_recorded(store, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run_id = store.start("abc", "lora seed 0", {"seed": 0})
    assert store.finished("abc") is None and store.finished_like("abc") == {}
    store.finish(run_id, RECORD, files(tmp_path), "| Set | Accuracy |")
    assert (store.finished("abc"), store.finished("other")) == (run_id, None)
    assert store.record(run_id) == json.loads(json.dumps(RECORD))
    data = store.client.get_run(run_id).data
    assert data.metrics["accuracy/mawps"] == 50.0 and data.metrics["rows/padding_share"] == 0.25
    assert (data.metrics["nll/mawps"], data.metrics["nll/micro"]) == (0.5, 0.25)
    assert not {"seconds/evaluate", "nll/macro"} & data.metrics.keys()
    assert data.metrics["rows/trained"] == 100.0 and data.metrics["rows/asked"] == 12.0
    assert data.tags["method"] == "lora" and data.tags["git_commit"] == 40 * "a"
    assert data.tags["mlflow.note.content"] == "| Set | Accuracy |"
    history = store.client.get_metric_history(run_id, "loss/train")
    assert [(m.step, m.value) for m in history] == [(0, 2.0), (5, 1.0)]
    assert not list((tmp_path / "elsewhere").iterdir()), "the working directory stays as it is"
    copy = store.download(run_id, "adapter", tmp_path)
    assert (copy / "adapter_model.safetensors").read_bytes() == b"weights"
    store.sweep("sweep-abc", "table2", {})
    again = store.start("abc", "lora seed 0", {})
    store.client.set_terminated(again, "FINISHED")
    for given in ("ab", "", again):
        assert store.finished_like(given) == {again: "abc"}
    assert store.finished_like("bc") == {}
    with pytest.raises(Failure, match=f"adapter of the run {again} can't be fetched"):
        store.download(again, "adapter", tmp_path)


def test_an_imported_run_has_the_times_that_it_is_given(store, tmp_path):
    store.fail(store.start("abc", "lora seed 0", {}), "FAILED", "no")
    run_id = store.start("abc", "lora seed 0", {"seed": 0}, began=1_000)
    store.finish(run_id, RECORD, files(tmp_path), ended=61_000)
    info = store.client.get_run(run_id).info
    assert (info.start_time, info.end_time, info.status) == (1_000, 61_000, "FINISHED")
    assert store.finished("abc") == run_id
    assert store.timings({"method": "lora"}, 9) == []  # of another machine, perhaps


def test_timings_are_of_any_name(store, tmp_path):
    run_id = store.start("abc", "lora seed 0", {})
    store.finish(run_id, RECORD | {"model": "bob's model"}, files(tmp_path))
    assert len(store.timings({"model": "bob's model"}, 9)) == 1


def test_a_record_is_amended(store, tmp_path):
    run_id = store.start("abc", "lora seed 0", {})
    store.finish(run_id, RECORD, files(tmp_path))
    store.amend(run_id, RECORD | {"more": 1}, [("more", 1.0)])
    assert store.record(run_id)["more"] == 1
    assert store.client.get_run(run_id).data.metrics["more"] == 1.0


@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("create_run", lambda store, _: store.sweep("sweep-abc", "table2", {})),
        ("get_run", lambda store, _: store.adopt("abc", "def")),
        ("search_runs", lambda store, _: read_contents(store)),
        ("search_runs", lambda _, folder: dashboard(folder, None, "test", None)),
    ],
)
def test_a_store_that_is_gone_is_reported(store, tmp_path, monkeypatch, call, use):
    def gone(*_, **__):
        raise MlflowException("connection refused")

    monkeypatch.setattr(MlflowClient, call, gone)
    with pytest.raises(Unreachable, match="connection refused"):
        use(store, tmp_path / "results")


def test_an_unfinished_run_is_resumed_and_its_failure_forgotten(store):
    run_id = store.start("abc", "lora seed 0", {"seed": 0})
    store.fail(run_id, "FAILED", "ValueError: no")
    run = store.client.get_run(run_id)
    assert run.info.status == "FAILED" and run.data.tags["failure"] == "ValueError: no"
    assert store.start("abc", "lora seed 0", {"seed": 0, "more": 1}) == run_id
    run = store.client.get_run(run_id)
    assert run.info.status == "RUNNING" and "failure" not in run.data.tags
    assert run.data.params == {"seed": "0", "more": "1"}


def test_a_run_that_finishes_is_no_failure(store, tmp_path):
    run_id = store.start("abc", "lora seed 0", {})
    store.fail(run_id, "KILLED", "interrupted with its sweep")  # by a sweep that shares the run
    store.finish(run_id, RECORD, files(tmp_path))
    run = store.client.get_run(run_id)
    assert run.info.status == "FINISHED" and "failure" not in run.data.tags


def test_a_failure_that_cannot_be_recorded_is_printed(store, monkeypatch, capsys):
    run_id = store.start("abc", "lora seed 0", {})

    def full(*_):
        raise OSError("http://me:secret@host: database or disk is full")

    monkeypatch.setattr(store.client, "set_tag", full)
    store.fail(run_id, "FAILED", "OSError: no space left")
    assert (
        "could not be recorded: http://me:***@host: database or disk is full"
        in capsys.readouterr().err
    )


def test_parameters_are_what_one_types_without_what_no_run_differs_by():
    settings = {
        "method": {"module": "lora", "options": {"r": 16}, "lr": {"other": 0.1}},
        "model": {"name": "tiny", "revision": None},
        "train": {"lr": 0.003},
        "protocol": {"name": "fast", "evaluation_prompt": "Question: {instruction}\nAnswer:"},
        "tracking": {"folder": "results"},
        "force": False,
    }
    assert params(settings) == {
        "method.r": "16",
        "model.name": "tiny",
        "train.lr": "0.003",
        "protocol.name": "fast",
    }


def test_a_sweep_may_add_a_setting(store):
    run_id = store.sweep("abc", "own", {"+model.NAME": "a,b", "seed": "0,1"})
    assert store.client.get_run(run_id).data.params == {"_model.NAME": "a,b", "seed": "0,1"}


def test_the_store_accepts_the_metrics_of_a_set_whatever_its_folder_is_called(store):
    odd = (
        "accuracy/a=b",
        "accuracy/..",
        "accuracy//",
        "/",
        "a/./b",
        "x" * 300,
        "a/\x1b[2J",
        "数学",
    )
    run_id = store.start("abc", "lora seed 0", {})
    store._log(run_id, [(name, 1.0) for name in odd])
    assert store.client.get_run(run_id).data.metrics.keys() == {store_name(name) for name in odd}
    for name in ("accuracy/ARC-Easy", "lm_eval/gsm8k/exact_match_stderr", "gate_mean/q_proj"):
        assert store_name(name) == name


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_text(path, "old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_results_tests_and_documents_do_not_make_a_tree_differ_but_code_does(tmp_path):
    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True)

    for folder in ("results", "tests", "code"):
        (tmp_path / folder).mkdir()
    (tmp_path / "code.py").write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    for path in ("results/table.csv", "tests/test_code.py", "README.md", "code/README.md"):
        (tmp_path / path).write_text("new")
    assert git_state(tmp_path)["dirty"] is False
    (tmp_path / "code.py").write_text("2")
    assert git_state(tmp_path)["dirty"] is True
    assert len(git_state(tmp_path)["commit"]) == 40


def test_outside_of_a_checkout_there_is_no_commit(tmp_path):
    assert git_state(tmp_path) == {"commit": None, "dirty": None}
