"""The contents of an experiment: what is found, and what is left out."""

import json

import pytest

from bench.errors import InputError
from bench.files import write_json
from bench.report.design import sweep_records
from bench.report.spec import TableSpec
from bench.tracking import contents
from bench.tracking.backend import NothingRecorded
from bench.tracking.contents import read_contents
from bench.tracking.store import Store
from tests.report.many_runs import made_up, run_of, write_runs


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One database: making its tables takes seconds."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def store(results, request):
    """An experiment of the test's own."""
    return Store(results, None, request.node.name.translate(str.maketrans("<>[]/", "_____")))


@pytest.fixture
def keep(store, tmp_path):
    """Record a finished run; returns its id in the store."""

    def finish(record, lines=(), parent=None, store=store):
        run_id = store.start(record["identity"], f"{record['method']} seed 0", {}, parent)
        folder = tmp_path / run_id
        folder.mkdir()
        write_json(folder / "record.json", record)
        if lines:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / "predictions.jsonl").write_text(text)
        store.finish(run_id, record, folder)
        return run_id

    return finish


@pytest.fixture
def artifact(results):
    """The path of a file that was kept with a run."""

    def path(run_id, name="record.json"):
        return results / "artifacts" / run_id / "artifacts" / name

    return path


def test_the_newest_run_comes_first_and_an_identity_that_was_forced_again_once(store, keep):
    old = keep(run_of("lora", seed=0))
    keep(run_of("dora", seed=0))
    new = keep(run_of("lora", seed=0))
    found = read_contents(store)
    assert [record["method"] for record in found.records] == ["lora", "dora"]
    assert found.records[0]["run_id"] == new != old and found.superseded == 1


def test_a_record_comes_as_it_was_written_with_its_end_and_its_sweep(store, keep):
    written = run_of("hyplora", curvature=0.5)
    parent = store.sweep("sweep-1", "table2", {"seed": "0,1"})
    run_id = keep(written, parent=parent)
    (record,) = read_contents(store).records
    info = store.client.get_run(run_id).info
    assert (record.pop("began"), record.pop("ended")) == (info.start_time, info.end_time)
    assert record.pop("parent") == parent and record.pop("run_id") == run_id
    written.pop("run_id")
    assert record == json.loads(json.dumps(written))


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: path.unlink(), "record.json is gone"),
        (lambda path: path.write_text('{"identity": "ab'), "record.json can't be read"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "record.json can't be read"),
        (lambda path: path.write_text("[]"), "record.json is no record"),
        (lambda path: path.write_text('{"identity": "x"}'), "record.json has no method"),
        (lambda path: rewrite(path, seed="one"), "record.json has 'one' as seed"),
        (lambda path: rewrite(path, scores={"s": {"n": 3}}), "record.json has no accuracy in the"),
        (
            lambda path: rewrite(path, scores={"s": {"n": 3, "accuracy": float("nan")}}),
            "record.json has nan as accuracy",
        ),
        (lambda path: rewrite(path, kind="pretrain"), "record.json has no size"),
        (
            lambda path: path.write_text(json.dumps(run_of("dora"))),
            "record.json is another run's",
        ),
    ],
)
def test_a_damaged_record_is_named_and_left_out(store, keep, artifact, damage, why):
    whole = keep(run_of("dora", seed=1))
    broken = keep(run_of("lora"))
    damage(artifact(broken))
    found = read_contents(store)
    assert [record["run_id"] for record in found.records] == [whole]
    (lost,) = found.unreadable
    assert (lost.run_id, lost.name) == (broken, "lora seed 0") and lost.reason.startswith(why)


def test_predictions_are_read_up_to_a_damaged_line(store, keep, artifact):
    run_id = keep(run_of(), [{"task": "mawps", "index": 0}])
    assert store.predictions(run_id) == [{"task": "mawps", "index": 0}]
    with artifact(run_id, "predictions.jsonl").open("a") as stream:
        stream.write('{"task": "mawps", "ind\n{"task": "mawps", "index": 2}\n')
    assert store.predictions(run_id) == [{"task": "mawps", "index": 0}]
    artifact(run_id, "predictions.jsonl").unlink()
    assert store.predictions(run_id) == []


def test_runs_without_a_result_have_a_reason_and_are_left_out_if_they_finished_since(store, keep):
    failed = store.start("a", "lora seed 1", {})
    store.fail(failed, "FAILED", "Traceback ...\nValueError: no such layer\n")
    store.fail(store.start("b", "lora seed 2", {}), "KILLED", "interrupted from the keyboard")
    store.start("c", "lora seed 3", {})
    again = run_of("dora")
    store.fail(store.start(again["identity"], "dora seed 0", {}), "FAILED", "out of memory")
    keep(again)
    found = read_contents(store)
    assert [(run.name, run.status, run.reason) for run in found.unfinished] == [
        ("lora seed 1", "FAILED", "ValueError: no such layer"),
        ("lora seed 2", "KILLED", "interrupted from the keyboard"),
        ("lora seed 3", "RUNNING", ""),
    ]


def test_of_measurements_the_newest_of_a_kind_is_found_with_its_content(store, artifact):
    for value in (1, 2):
        store.keep("efficiency", {"value": value}, {}, {})
    artifact(store.keep("embeddings", {}, {}, {}), "embeddings.json").unlink()
    measured = read_contents(store).measurements
    assert list(measured) == ["efficiency"]
    assert measured["efficiency"].content == {"value": 2}


def test_a_sweep_is_found_with_what_it_asked_for_also_while_it_runs(store, artifact):
    runs = [run_of("lora"), run_of("hyplora", curvature=1.0)]
    spec = TableSpec("table2", "Arithmetic", apart={"r": {"low": 4}})
    sweeps = sweep_records(runs, spec, ("+sweep=table2",), 1.0)
    run_id, other = store.sweep("sweep-1", "table2", {}), store.sweep("sweep-2", "grid", {})
    store.keep_sweeps(run_id, sweeps)
    found = {run.run_id: run for run in read_contents(store).sweeps}
    (read,) = found[run_id].sweeps
    assert json.loads(json.dumps(read.to_json())) == json.loads(json.dumps(sweeps[0].to_json()))
    assert (read.rows, read.members, read.contrasts) == (
        sweeps[0].rows, sweeps[0].members, sweeps[0].contrasts,
    )  # fmt: skip
    assert found[other].sweeps == ()
    artifact(run_id, "sweep.json").write_text('[{"name": 1}]')
    assert all(run.sweeps == () for run in read_contents(store).sweeps)


def test_all_pages_are_read_and_each_run_once(results, monkeypatch):
    monkeypatch.setattr(contents, "PAGE", 4)
    write_runs(results, made_up(10))
    found = read_contents(Store(results, None, "hyplora-bench"))
    assert len(found.records) == 10 and not found.unreadable
    assert len({record["identity"] for record in found.records}) == 10


def test_a_store_on_postgresql_is_read_alike(tmp_path, fresh_database, keep):
    store = Store(tmp_path / "results", fresh_database, "test")
    first, second = (keep(run_of(seed=seed), store=store) for seed in (0, 1))
    found = read_contents(Store(tmp_path / "results", fresh_database, "test", create=False))
    assert [record["run_id"] for record in found.records] == [second, first]


@pytest.mark.slow
def test_a_store_behind_a_server_is_read_alike(tmp_path, served, keep):
    store = served(tmp_path / "results")
    ids = [keep(run_of(seed=s), [{"task": "mawps"}], store=store) for s in range(3)]
    next((tmp_path / "kept").rglob(f"{ids[0]}/artifacts/record.json")).unlink()
    next((tmp_path / "kept").rglob(f"{ids[1]}/artifacts/record.json")).write_text("{")
    store = served(tmp_path / "other")
    found = read_contents(store)
    assert [record["run_id"] for record in found.records] == [ids[2]]
    assert {run.run_id for run in found.unreadable} == set(ids[:2])
    assert store.predictions(ids[2]) == [{"task": "mawps"}]
    assert store.file(ids[2], "nothing.json") is None


def test_reading_creates_no_store(tmp_path):
    with pytest.raises(NothingRecorded, match=r"mlflow\.db"):
        Store(tmp_path / "results", None, "test", create=False)
    assert not (tmp_path / "results").exists()


def test_reading_creates_no_experiment_and_names_those_that_exist(results):
    Store(results, None, "mine")
    with pytest.raises(InputError, match=r"unknown tracking\.experiment 'miin'. Did you mean mine"):
        Store(results, None, "miin", create=False)
