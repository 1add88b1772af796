"""Broken rows, results folders and databases: one message, or a run that replaces them."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import torch

from tests.helpers import refused

TINY = ("method=none", "protocol.max_new_tokens=2")
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


@pytest.fixture
def evaluate(tmp_path, inline):
    """Run the command on a test file with one problem."""

    def run(**values):
        path = tmp_path / "data" / "dataset" / "SVAMP" / "test.json"
        path.parent.mkdir(parents=True)
        problem = {"instruction": "What is 1 + 1?", "input": "", "output": "x", "answer": "2.0"}
        path.write_text(json.dumps([problem | values]))
        data = ("data=llm_adapters", f"data.root={tmp_path / 'data'}", "data.tests=[SVAMP]")
        return inline(*data, *TINY)

    return run


def test_a_broken_row_is_refused_in_one_message(evaluate, tmp_path):
    done = evaluate(answer=ESCAPE)
    refused(done, r"row 0: the answer '\x1b]0;owned", results=tmp_path / "results")


@pytest.mark.parametrize("instruction", [f"{ESCAPE}\x00\x08 What is 1 + 1?", "words " * 17_000])
def test_an_unusual_problem_is_evaluated(evaluate, instruction):
    done = evaluate(instruction=instruction)
    assert done.code == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    folder = Path(done.stdout.rpartition("-> ")[2].strip())
    (line,) = map(json.loads, (folder / "predictions.jsonl").open())
    assert ("the context leaves room" in (line["reason"] or "")) == (len(instruction) > 1000)


ROWS = ("data.train=[mawps]", "data.tests=[mawps]", "data.train_size=8", "data.validation=4")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("protocol.max_length=10",), r"training row fits: protocol\.max_length is 10 .* has \d\d"),
        (("model.context=40", "protocol.max_new_tokens=4"), r"context.* is 40 tokens"),
    ],
)
def test_training_rows_that_are_all_too_long_are_refused(inline, overrides, message):
    done = inline(*ROWS, "data.test_size=1", *overrides)
    assert done.code == 2 and re.search(message, done.stderr)


def test_test_prompts_that_are_all_too_long_are_warned_of(inline, caplog):
    done = inline("method=none", *ROWS, "data.test_size=2", "protocol.max_new_tokens=1020")
    assert done.code == 0 and "mawps: 2 of 2 prompts count as wrong" in caplog.text


SYNTHETIC = (*TINY, "data.tests=[mawps]", "data.test_size=1")


def test_a_results_folder_that_is_a_file_is_refused(inline, tmp_path):
    (tmp_path / "results").write_text("")
    refused(inline(*SYNTHETIC), str(tmp_path / "results"), 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_results_folder_is_refused(inline, tmp_path):
    (tmp_path / "results").mkdir(mode=0o500)
    refused(inline(*SYNTHETIC), str(tmp_path / "results"), 1)


@pytest.fixture
def full_disk(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a disk, and not everywhere")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_reported(inline, full_disk):
    refused(inline(*SYNTHETIC), "free some", 1)


def test_a_results_folder_may_have_characters_of_an_address_in_its_name(inline, tmp_path):
    results = tmp_path / "what?100%41#1"
    for _ in range(2):
        done = inline(*SYNTHETIC, results=f'"{results}"')  # Hydra's quotes
        assert done.code == 0, done.stderr
    assert "(cached)" in done.stdout and (results / "mlflow.db").is_file()


def test_a_broken_record_is_reported_and_force_replaces_it(inline, tmp_path):
    assert inline(*SYNTHETIC).code == 0
    for record in (tmp_path / "results").rglob("record.json"):  # of the run and of the store
        record.write_text("{")
    refused(inline(*SYNTHETIC), "force=true", 1)
    assert inline(*SYNTHETIC, "force=true").code == 0
    assert "(cached)" in inline(*SYNTHETIC).stdout


@pytest.fixture
def killed(compose, small):
    """Overrides and folder of a run that was killed after its training."""
    from bench.experiment import prepare

    overrides = (*small, "method=lora")
    return overrides, prepare(compose(*overrides)).folder


def another_state(folder):
    (folder / "checkpoint").mkdir(parents=True)
    torch.save({"state_dict": {}}, folder / "checkpoint" / "last.ckpt")


def broken_files(folder):
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "last.ckpt").write_bytes(b"PK\x03\x04 half of a state")
    (folder / "training.json").write_text("{")
    (folder / "predictions.jsonl").write_bytes(b'{"task": "mawps"}\n\xff\xfe\n[1]\n')


@pytest.mark.parametrize("left", [another_state, broken_files])
def test_what_a_killed_run_left_broken_is_replaced(inline, killed, left):
    overrides, folder = killed
    left(folder)
    done = inline(*overrides)
    assert done.code == 0, done.stderr
    assert json.loads((folder / "record.json").read_text())["training"]["steps"] >= 1
