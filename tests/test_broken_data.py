"""Broken rows, results folders and databases: one message, or what is documented of them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

TINY = ("method=none", "protocol.max_new_tokens=2")
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def row(number=1, **values):
    problem = {"instruction": f"What is {number} + 1?", "input": "", "output": "x", "answer": "2.0"}
    return problem | values


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """One folder for all that is refused: making its tracking store takes longer than a refusal."""
    return tmp_path_factory.mktemp("refused") / "results"


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """One folder for the odd files that are asked."""
    return tmp_path_factory.mktemp("odd") / "results"


@pytest.fixture
def asked(tmp_path, inline):
    """Run the command on a test file of these bytes, or of these rows."""

    def run(content, *arguments, name="SVAMP", **options):
        path = tmp_path / "data" / "dataset" / "SVAMP" / "test.json"
        path.parent.mkdir(parents=True)
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        path.write_bytes(content)
        data = ("data=llm_adapters", f"data.root={tmp_path / 'data'}", f"data.tests=[{name}]")
        return inline(*data, *TINY, *arguments, **options)

    return run


def refused(told, message, results):
    assert told.code == 2, told.stderr
    assert message in told.stderr and "Traceback" not in told.stderr + told.stdout
    assert told.stderr.count("error: ") == 1 and "\x1b" not in told.stderr
    assert not list((results / "runs").glob("*"))


FILES = {
    "latin-1": ('[{"instruction": "caf\xe9"}]'.encode("latin-1"), "is not UTF-8"),
    "UTF-16": (json.dumps([row()]).encode("utf-16"), "is not UTF-8"),
    "no bytes": (b"", "is not JSON"),
    "half a file": (json.dumps([row()]).encode()[:-9], "is not JSON"),
    "an empty list": ([], "has no rows"),
    "an object": ({"rows": []}, "must hold a list"),
    "text in place of rows": (["row"], "row 0: not a JSON object but str"),
    "lists in lists without end": (b"[" * 100_000, "is not JSON"),
    "a whole number of five thousand digits": (
        json.dumps([row(answer=0)]).replace("0}", "1" * 5000 + "}").encode(),
        "is not JSON",
    ),
    "a key is missing": ([row(), {"instruction": "x"}], "row 1: lacks answer"),
    "keys with escapes": ([{ESCAPE: 1}], "row 0: lacks instruction"),
    "an instruction of null": ([row(instruction=None)], "row 0: instruction is null"),
    "an instruction that is a list": ([row(instruction=["x"])], "row 0: instruction must be text"),
    "an input that is an object": ([row(input={"a": 1})], "row 0: input must be text"),
    "an answer of null": ([row(answer=None)], "row 0: answer is null"),
    "an answer that is a list": ([row(answer=["2"])], "row 0: answer must be text or a number"),
    "an answer that is empty": ([row(answer="")], "row 0: the answer '' is not a number"),
    "an answer with escapes": ([row(answer=ESCAPE)], r"the answer '\x1b]0;owned"),
    "answers of two kinds": ([row(), row(answer="B")], "row 1: the answer 'B' is not a number"),
    "a NaN as an answer": ([row(answer=float("nan"))], "row 0: the answer 'nan' is not a number"),
    "an infinite answer": ([row(answer="inf")], "row 0: the answer 'inf' is not a number"),
    "an answer beyond all numbers": ([row(answer="1e999")], "'1e999' is not a number"),
    "half of a letter": (b'[{"instruction": "\\ud800", "answer": "1"}]', "row 0: instruction"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_broken_file_is_refused_in_one_message(asked, refusals, kind):
    content, message = FILES[kind]
    refused(asked(content, results=refusals), message, refusals)


@pytest.mark.parametrize("name", ["../dataset/SVAMP", "/etc", "..", "a/b", "x" * 300, '"\\0"'])
def test_a_set_is_named_by_a_name_and_no_path(asked, refusals, name):
    refused(asked([row()], name=name, results=refusals), "test set", refusals)


@pytest.mark.parametrize("name", ["../math", "/etc/passwd", "x" * 300])
def test_a_training_set_is_named_by_a_name_and_no_path(inline, tmp_path, refusals, name):
    data = ("data=llm_adapters", f"data.root={tmp_path}", f"data.train=[{name}]")
    refused(inline(*data, "method=lora", results=refusals), "training set", refusals)


WHOLE = {
    "a byte order mark": (b"\xef\xbb\xbf" + json.dumps([row()]).encode(), 1),
    "lines that end as in Windows": (
        json.dumps([row()], indent=1).replace("\n", "\r\n").encode(),
        1,
    ),
    "answers that are numbers": ([row(answer=2), row(answer=2.5)], 2),
    "the same row twice": ([row(), row()], 2),
    "control characters": ([row(instruction=f"{ESCAPE}\x00\x08 What is 1 + 1?")], 1),
    "no input and no output": ([row(input=None, output=None)], 1),
    "a gold answer of 300 digits": ([row(answer="9" * 300)], 1),
    "a prompt of 100 kB": ([row(instruction="words " * 17_000)], 1),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_an_odd_file_is_asked_all_the_same(asked, odd, kind):
    content, rows = WHOLE[kind]
    told = asked(content, results=odd)
    assert told.code == 0, told.stderr
    assert "\x1b" not in told.stdout + told.stderr
    folder = Path(told.stdout.rpartition("-> ")[2].strip())
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").open()]
    assert len(lines) == rows
    long = kind == "a prompt of 100 kB"
    assert ["the context leaves room" in (line["reason"] or "") for line in lines] == [long] * rows


def test_a_null_in_a_row_is_no_word(tmp_path):
    from bench.tasks.task import same_row

    raw = row(input=None, output=None)
    assert same_row(raw) == row(input="", output="")


SYNTHETIC = (*TINY, "data.tests=[mawps]", "data.test_size=1")


def told_plainly(told, message, code):
    assert told.code == code, told.stderr
    assert message in told.stderr and "Traceback" not in told.stderr + told.stdout
    assert told.stderr.count("error: ") == 1


def test_a_results_folder_that_is_a_file_is_told(inline, tmp_path):
    (tmp_path / "results").write_text("")
    told_plainly(inline(*SYNTHETIC), str(tmp_path / "results"), 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_results_folder_that_is_read_only_is_told(inline, tmp_path):
    (tmp_path / "results").mkdir(mode=0o500)
    told_plainly(inline(*SYNTHETIC), str(tmp_path / "results"), 1)


@pytest.fixture
def full_disk(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a disk, and not everywhere")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told(inline, full_disk):
    told_plainly(inline(*SYNTHETIC), "free some", 1)


DATABASES = {
    "no database": b"nonsense " * 1000,
    "half a database": b"SQLite format 3\x00" + b"\xff" * 5000,
}


@pytest.mark.parametrize("kind", DATABASES)
def test_a_store_that_is_no_database_is_refused(inline, tmp_path, kind):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mlflow.db").write_bytes(DATABASES[kind])
    told_plainly(inline(*SYNTHETIC), "mlflow.db", 2)
    assert not (tmp_path / "results" / "runs").exists()


def test_a_store_of_no_bytes_is_made_anew(inline, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mlflow.db").touch()
    told = inline(*SYNTHETIC)
    assert told.code == 0, told.stderr


@pytest.mark.parametrize("kind", DATABASES)
def test_a_study_that_is_no_database_is_refused(inline, tmp_path, refusals, kind):
    (tmp_path / "optuna.db").write_bytes(DATABASES[kind])
    storage = f"hydra.sweeper.storage=sqlite:///{tmp_path / 'optuna.db'}"
    sweep = ("+sweep=curvature", "hydra/launcher=basic", storage, "data.test_size=1")
    refused(inline(*sweep, results=refusals), "optuna.db", refusals)


@pytest.mark.parametrize(
    "uri",
    ["ftp://host/x", "nonsense", "'http://[::1'", "http://127.0.0.1:1", "sqlite:////proc/x.db"],
)
def test_a_place_for_the_record_that_is_none_is_refused(inline, refusals, uri):
    refused(inline(*SYNTHETIC, f"tracking.uri={uri}", results=refusals), "tracking.uri", refusals)


@pytest.mark.parametrize("content", ["nonsense", "[]", "null", "", b"\xff\xfe"])
def test_a_cache_of_hashes_that_is_broken_is_made_anew(asked, tmp_path, content):
    from bench.models.settings import folder_hash
    from bench.models.tiny_base import TINY_BASE

    cache = tmp_path / "hashes.json"
    cache.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert folder_hash(TINY_BASE, cache) == folder_hash(TINY_BASE)


def test_a_record_that_is_broken_is_told_and_force_makes_it_anew(inline, tmp_path):
    assert inline(*SYNTHETIC).code == 0
    (record,) = (tmp_path / "results" / "artifacts").rglob("record.json")
    record.write_text("{")
    told_plainly(inline(*SYNTHETIC), "force=true", 1)
    assert inline(*SYNTHETIC, "force=true").code == 0
    assert "(cached)" in inline(*SYNTHETIC).stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A tracking store's file: to copy it is faster than to make one."""
    from bench.tracking.store import Store

    folder = tmp_path_factory.mktemp("store")
    Store(folder, None, "hyplora-bench")
    return folder / "mlflow.db"


@pytest.fixture
def killed(compose, small, tmp_path, store):
    """A run that was ended after its training: its overrides, and its folder."""
    from bench.experiment import prepare

    (tmp_path / "results").mkdir()
    shutil.copy(store, tmp_path / "results")
    overrides = (*small, "method=lora", "data.train_size=4", "data.test_size=1")
    return overrides, prepare(compose(*overrides)).folder


def broken_state(folder):
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "last.ckpt").write_bytes(b"PK\x03\x04 half of a state")


def another_state(folder):
    (folder / "checkpoint").mkdir(parents=True)
    torch.save({"state_dict": {}}, folder / "checkpoint" / "last.ckpt")


def broken_facts(folder):
    folder.mkdir(parents=True)
    (folder / "training.json").write_text("{")


def no_adapter(folder):
    folder.mkdir(parents=True)
    (folder / "training.json").write_text("{}")


def garbage_lines(folder):
    folder.mkdir(parents=True)
    (folder / "predictions.jsonl").write_bytes(b'{"task": "mawps"}\n\xff\xfe\n[1]\n')


@pytest.mark.parametrize(
    "left", [broken_state, another_state, broken_facts, no_adapter, garbage_lines]
)
def test_what_a_killed_run_left_broken_is_made_anew(inline, killed, left):
    overrides, folder = killed
    left(folder)
    told = inline(*overrides)
    assert told.code == 0, told.stderr
    assert json.loads((folder / "record.json").read_text())["training"]["steps"] >= 1
