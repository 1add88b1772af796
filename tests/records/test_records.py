"""Records published as files and imported again: complete, and checked."""

import gzip
import json
import os
import shutil
from dataclasses import asdict, replace

import pytest

import bench.identity
from bench.data.problems import Problem
from bench.data.prompts import Protocol
from bench.errors import Failure, InputError
from bench.evaluation.evaluate import judge
from bench.evaluation.scoring import averages, nll_averages, scores
from bench.files import write_json
from bench.records import files as reading
from bench.records.check import check_record
from bench.records.importing import import_
from bench.records.publish import publish
from bench.report.design import sweep_records
from bench.report.measurements import measurement_name
from bench.report.shared_record import shared_record
from bench.report.spec import TableSpec
from bench.tracking.contents import read_contents
from bench.tracking.store import Store
from tests.report.many_runs import run_of
from tests.report.pretraining_runs import made

SPEC = TableSpec("main", "Methods")
MEASURED = {"device": "cpu", "cases": []}
PROTOCOL = Protocol(name="fast", train_prompt="{instruction}", evaluation_prompt="{instruction}",
                    target="{output}", max_length=64, max_new_tokens=8, tolerance=1e-3,
                    letter_rule="released", answer_form="The answer is",
                    keep_overlap=False)  # fmt: skip
TEXTS = ("The answer is 3.", "The answer is 4.", "none")


def answered(**changes):
    """A finished run and its predictions, which say the same."""
    lines = [
        judge(key, index, Problem(key, f"Q{index}", "", "", "3"), text, 5, PROTOCOL)
        for key in ("mawps", "SVAMP")
        for index, text in enumerate(TEXTS)
    ]
    lines = [replace(line, nll=None if line.index == 2 else 0.1 * line.index) for line in lines]
    found = scores(lines, ("mawps", "SVAMP"), PROTOCOL)
    means = {"averages": averages(found), "nll": nll_averages(lines, found)}
    run = run_of(**changes, scores=found, **means, dtype="torch.float32")
    run["config"] |= {"protocol": asdict(PROTOCOL), "data": {"root": "/home/me/LLM-Adapters"},
                      "tracking": {"folder": "/home/me/results"}}  # fmt: skip
    return run, "".join(json.dumps(asdict(line)) + "\n" for line in lines)


@pytest.fixture(scope="module", autouse=True)
def identities():
    """Made-up records have made-up identities; of what they are is remembered."""
    known = {run["identity"]: run["train"] for run, _ in map(lambda s: answered(seed=s), range(3))}

    def identity_of(record):
        return record["identity"] if record["train"] == known[record["identity"]] else "another"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.identity, "identity_of_record", identity_of)
        yield


def keep(store, folder, run, predictions):
    run_id = store.start(run["identity"], f"lora seed {run['seed']}", {})
    folder.mkdir(parents=True)
    write_json(folder / "record.json", run | {"run_id": run_id})
    (folder / "predictions.jsonl").write_text(predictions)
    store.finish(run_id, run, folder)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store with a sweep of three seeds, two of which have finished, and a measurement."""
    folder = tmp_path_factory.mktemp("kept")
    store = Store(folder, None, "test")
    runs = [answered(seed=seed) for seed in range(3)]
    words = ["+sweep=main", "tracking.folder=/home/me", "data.root=/home/me/LLM-Adapters"]
    sweep = store.sweep("sweep-1", "main", {})
    store.keep_sweeps(sweep, sweep_records((run for run, _ in runs), SPEC, words, 1.0))
    for run, predictions in runs[:2]:
        keep(store, folder / "runs" / run["identity"], run, predictions)
    store.keep("efficiency", MEASURED, {}, {}, name=measurement_name("efficiency", MEASURED))
    return folder


def call(action, tracking, **settings):
    place = {"folder": str(tracking), "uri": None, "experiment": "test", "parent": None}
    return action({"action": {"name": "x", **settings}, "tracking": place})["summary"]


@pytest.fixture(scope="module")
def published_once(kept, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    for table in ("main", measurement_name("efficiency", MEASURED)):
        call(publish, kept, table=table, folder=str(folder))
    return folder


@pytest.fixture
def published(published_once, tmp_path):
    """Published records that a test may change."""
    return shutil.copytree(published_once, tmp_path / "records")


def plain(contents):
    left_out = ("run_id", "parent")
    records = {record["identity"]: shared_record(record) for record in contents.records}
    return {i: {k: v for k, v in r.items() if k not in left_out} for i, r in records.items()}


def test_what_is_published_and_imported_is_the_same(kept, published, tmp_path):
    files = sorted(path.name for path in (published / "main").iterdir())
    assert len(files) == 5 and files[-1] == "sweep.json"
    assert not any(b"/home/me" in path.read_bytes() for path in published.rglob("*.json"))
    assert call(import_, tmp_path / "new", folder=str(published)).startswith("3 imported: ")
    again = call(import_, tmp_path / "new", folder=str(published))
    assert again.startswith("0 imported, 3 were in the store: ")
    before, after = (
        read_contents(Store(folder, None, "test")) for folder in (kept, tmp_path / "new")
    )
    assert plain(after) == plain(before)
    (old,), (new,) = ([s for run in h.sweeps for s in run.sweeps] for h in (before, after))
    assert (new.rows, new.members) == (old.rows, old.members)
    assert new.arguments == ("+sweep=main", "data.root=LLM-Adapters")
    assert {record["parent"] for record in after.records} == {after.sweeps[0].run_id}
    (measured,) = after.measurements.values()
    assert measured.content == MEASURED and after.measurements.keys() == before.measurements.keys()
    copy = tmp_path / "again"
    call(publish, tmp_path / "new", table="main", folder=str(copy))
    for path in copy.rglob("*.*"):
        assert path.read_bytes() == (published / path.relative_to(copy)).read_bytes(), path


def test_the_folders_of_runs_are_imported_with_their_adapters(kept, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(kept / "runs", runs)
    folders = sorted(runs.iterdir())
    (runs / "unfinished").mkdir()
    (folders[0] / "adapter").mkdir()
    (folders[0] / "adapter" / "adapter_config.json").write_text("{}")
    os.utime(folders[0] / "record.json", (1000.0, 1000.0))
    tracking = tmp_path / "new"
    assert call(import_, tracking, folder=str(folders[0])).startswith("1 imported: ")
    again = call(import_, tracking, folder=str(runs))
    assert again.startswith("1 imported, 1 were in the store: ")
    store = Store(tracking, None, "test")
    identity = folders[0].name
    run_id = store.finished(identity)
    record = store.record(run_id)
    assert record["run_id"] == run_id and store.began(run_id) < 1000.0
    assert len(store.predictions(run_id)) == sum(s["n"] for s in record["scores"].values())
    assert store.file(run_id, "adapter/adapter_config.json") == b"{}"


def test_a_run_that_evaluated_nothing_is_imported_with_its_adapter(kept, tmp_path):
    (source, *_) = sorted((kept / "runs").iterdir())
    folder = shutil.copytree(source, tmp_path / "run")
    (folder / "predictions.jsonl").unlink()
    record = json.loads((folder / "record.json").read_bytes())
    write_json(folder / "record.json", record | {"scores": {}, "averages": {}, "nll": {}})
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    assert call(import_, tmp_path / "new", folder=str(folder)).startswith("1 imported: ")
    store = Store(tmp_path / "new", None, "test")
    assert store.file(store.finished(source.name), "adapter/adapter_config.json") == b"{}"


def test_a_run_s_folder_that_does_not_hold_is_refused(kept, tmp_path):
    (folder, *_) = sorted((kept / "runs").iterdir())
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "predictions.jsonl").unlink()
    with pytest.raises(InputError, match=r"record\.json: its predictions are missing"):
        call(import_, tmp_path / "new", folder=str(tmp_path / "run"))
    assert not (tmp_path / "new").exists()


def test_files_of_runs_that_are_no_longer_part_are_removed(kept, published):
    for name in ("0123456789ab.json", "README.md"):
        (published / "main" / name).write_text("{}")
    call(publish, kept, table="main", folder=str(published))
    assert not (published / "main" / "0123456789ab.json").exists()
    assert (published / "main" / "README.md").exists()


def test_only_what_agrees_with_itself_is_published(kept, tmp_path):
    shutil.copytree(kept, tmp_path / "kept")
    for path in (tmp_path / "kept" / "artifacts").rglob("predictions.jsonl"):
        path.unlink()
    with pytest.raises(InputError, match="Did you mean main"):
        call(publish, kept, table="mani", folder=str(tmp_path))
    with pytest.raises(InputError, match=r"action\.table is missing"):
        call(publish, kept, table=None, folder=str(tmp_path))
    with pytest.raises(InputError, match="nothing to publish"):
        call(publish, tmp_path / "none", table="main", folder=str(tmp_path))
    store = Store(tmp_path / "other", None, "test")
    run, predictions = answered(seed=0)
    store.keep_sweeps(store.sweep("sweep-1", "main", {}), sweep_records([run], SPEC))
    keep(store, tmp_path / "run", run, predictions.replace('"correct": true', '"correct": false'))
    with pytest.raises(Failure, match="correct on mawps is 1; its predictions give 0"):
        call(publish, tmp_path / "other", table="main", folder=str(tmp_path))


def put(key, value=None):
    """What sets a value in a JSON file by its dotted key; None removes it."""

    def change(path):
        content = section = json.loads(path.read_text())
        *above, last = key.split(".")
        for part in above:
            section = section[int(part) if isinstance(section, list) else part]
        section[last] = value
        if value is None:
            del section[last]
        path.write_text(json.dumps(content))

    return change


def relined(change):
    """What changes the lines of the predictions of a record."""

    def changed(path):
        packed = path.with_suffix(".jsonl.gz")
        lines = [json.loads(line) for line in gzip.decompress(packed.read_bytes()).splitlines()]
        change(lines)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        packed.write_bytes(gzip.compress(text.encode()))

    return changed


DAMAGE = {
    "no JSON": (lambda path: path.write_text("{"), "Expecting"),
    "deep": (lambda path: path.write_text("[" * 100_000), "nested too deeply"),
    "rather deep": (lambda path: path.write_text("[" * 50 + "]" * 50), "nested more than 40"),
    "no record": (lambda path: path.write_text("[]"), "the record is no record"),
    "no key": (put("config"), "has no config"),
    "odd key": (put("config", {}), "KeyError"),
    "settings": (put("train.lr", 1), "does not follow"),
    "identity": (put("identity", "../x"), "not a sha256"),
    "times": (put("ended"), "began and ended"),
    "accuracy": (put("scores.mawps.accuracy", 99.0), "mawps is 99.0; its predictions give 33.3"),
    "outcomes": (put("scores.SVAMP.outcomes", "010"), "outcomes on SVAMP"),
    "clusters": (put("scores.SVAMP.clusters", [0, 9, 9]), r"clusters on SVAMP is \[0, 9, 9\]"),
    "average": (put("averages.micro", 99.0), "micro average"),
    "text": (relined(lambda lines: lines[0].update(text="It is 7.")), "its answer is not 3.0"),
    "nll": (put("scores.SVAMP.nll", 0.04), "nll on SVAMP is 0.04; its predictions give 0.05"),
    "no nll": (put("scores.SVAMP.nll"), "nll on SVAMP"),
    "average nll": (put("nll.macro", 1.0), "macro average of nll"),
    "negative nll": (relined(lambda lines: lines[1].update(nll=-0.1)), "has the nll -0.1"),
    "twice": (relined(lambda lines: lines.append(lines[0])), "exactly one prediction per row"),
    "missing": (lambda path: path.with_suffix(".jsonl.gz").unlink(), "predictions are missing"),
    "no gzip": (lambda path: path.with_suffix(".jsonl.gz").write_bytes(b"x"), "not a gzip file"),
    "name": (lambda path: path.rename(path.with_name("0123456789ab.json")), "missing|record of"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_record_that_does_not_hold_is_refused_before_anything_is_written(
    published, tmp_path, damage
):
    path = sorted((published / "main").glob("[0-9a-f]*.json"))[-1]
    change, message = DAMAGE[damage]
    change(path)
    with pytest.raises(InputError, match=message) as refused:
        call(import_, tmp_path / "new", folder=str(published))
    assert str(published / "main") in str(refused.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("members.0.seed", 9), "not in the row of its settings"),
        (put("rows", []), "not in the row of its settings"),
        (put("rows.0.curvature", {}), "has the curvature"),
        (put("rows.0.label", 3), "have the wrong type"),
        (put("name", "../../x"), "has the table main"),
        (put("table.name", "../../x"), "use letters"),
        (put("rows"), "rows"),
    ],
)
def test_a_sweep_that_does_not_hold_is_refused(published, tmp_path, change, message):
    change(published / "main" / "sweep.json")
    with pytest.raises(InputError, match=rf"sweep\.json: .*{message}"):
        call(import_, tmp_path / "new", folder=str(published / "main"))


def test_a_file_that_is_huge_when_decompressed_is_refused(published, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PREDICTIONS", 1000)
    with pytest.raises(InputError, match="when decompressed"):
        call(import_, tmp_path / "new", folder=str(published))
    monkeypatch.setattr(reading, "BYTES", 1000)
    with pytest.raises(InputError, match="larger than 0 MB"):
        call(import_, tmp_path / "new", folder=str(published))


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        call(import_, tmp_path / "new", folder=str(tmp_path / "none"))
    with pytest.raises(InputError, match="has no records"):
        call(import_, tmp_path / "new", folder=str(tmp_path))


def test_the_bits_per_byte_of_a_pretraining_run_follow_from_its_blocks(monkeypatch):
    record = made("helm_d", identity="0" * 64, began=1, ended=2)
    monkeypatch.setattr(bench.identity, "identity_of_record", lambda record: record["identity"])
    check_record(record, None)
    record["training"]["bits_per_byte"] += 1e-4
    with pytest.raises(ValueError, match="bits per byte is"):
        check_record(record, None)


def test_files_of_runs_that_are_still_part_of_the_table_are_kept(kept, published):
    identity = answered(seed=2)[0]["identity"]
    member, other = (published / "main" / f"{stem}.json" for stem in (identity[:12], f"{0:012}"))
    for path in (member, other):
        path.write_text("{}")
    summary = call(publish, kept, table="main", folder=str(published))
    assert member.exists() and not other.exists()
    assert "without 1 of 3 runs, which are not in the store" in summary
