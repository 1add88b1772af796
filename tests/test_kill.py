"""A run that is killed with SIGKILL again and again ends as one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
import torch

from bench.config import PROJECT
from tests.forked import kill, running

pytestmark = [pytest.mark.slow, pytest.mark.ci, pytest.mark.timeout(900)]  # seven processes

LIMIT = 240.0  # seconds until the moment of a kill, or until the end
FINETUNING = (
    "method=hyplora",
    "method.lora_dropout=0.1",  # so that the randomness of each step matters
    "data.train=[mawps,SVAMP]",
    "data.tests=[mawps,SVAMP]",
    "data.train_size=150",
    "data.validation=20",
    "data.test_size=60",
    "train.checkpoint_minutes=0.01",
    "evaluation.batch_size=4",
    "protocol.max_new_tokens=40",
)


class Run:
    """A run in a results folder of its own, and what is seen of it from outside.

    Attributes:
        steps: of the saved states, in the order in which they were seen.
        lines: of predictions.jsonl at each kill.
        trained: training.json, and when it was written, at each kill after training.
    """

    def __init__(self, results, arguments):
        self.results, self.arguments = results, arguments
        self.log = results.with_suffix(".log")
        self.steps, self.lines, self.trained = [], [], []
        self.state_written = 0

    def file(self, name):
        """A file of the run's folder, whose name is not known before the run has made it."""
        return next(self.results.glob("runs/*"), self.results / "runs" / "none yet") / name

    def record(self):
        return json.loads(self.file("record.json").read_text())

    def predictions(self):
        """The complete lines that have been written so far."""
        path = self.file("predictions.jsonl")
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [line for line in lines if line.endswith(b"\n")]

    def training(self):
        path = self.file("training.json")
        return path.stat().st_mtime_ns, path.read_text()

    def step(self):
        """The step of the saved state, 0 without one."""
        path = self.file("checkpoint/last.ckpt")
        if not path.exists():
            return 0
        if path.stat().st_mtime_ns != self.state_written:
            self.state_written = path.stat().st_mtime_ns
            self.steps.append(torch.load(path, weights_only=True)["global_step"])
        return self.steps[-1]

    def finish(self):
        with running(self.command(), self.log) as process:
            process.join(LIMIT)
            assert process.exitcode == 0, self.log.read_text()
        return self

    def command(self):
        return [*self.arguments, f"tracking.folder={self.results}"]

    def kill_when(self, condition):
        """Start or resume, and kill the process and its children once `condition()` is true."""
        with running(self.command(), self.log) as process:
            deadline = time.monotonic() + LIMIT
            while not condition():
                assert process.is_alive(), f"it ended before its kill: {self.log.read_text()}"
                assert time.monotonic() < deadline, f"timed out: {self.log.read_text()}"
                time.sleep(0.0005)
            kill(process)
            assert process.exitcode == -signal.SIGKILL, "it ended before its kill"
        self.lines.append(self.predictions())
        if self.file("training.json").exists():
            self.trained.append(self.training())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The command itself, with another order of its sets than in the forked processes."""
    run = Run(tmp_path_factory.mktemp("undisturbed") / "results", FINETUNING)
    subprocess.run(
        [sys.executable, "bench/run.py", *run.command()], cwd=PROJECT, check=True, timeout=LIMIT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return run


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that was killed three times in training and twice in evaluation, then ended."""
    run = Run(tmp_path_factory.mktemp("killed") / "results", FINETUNING)

    def between_two_saves():
        path = run.file("checkpoint/last.ckpt")
        return run.step() >= 16 and time.time() - path.stat().st_mtime >= 0.4

    def while_a_state_is_written():
        # Writing takes milliseconds; if none of ten is caught, one just written has to do.
        partial = run.file("checkpoint/last.partial").exists()
        return (run.step() >= 26 and partial) or run.step() >= 40

    run.kill_when(lambda: run.step() > 0)
    run.kill_when(between_two_saves)
    run.kill_when(while_a_state_is_written)
    for count in (16, 96):  # of 120
        run.kill_when(lambda count=count: run.step() and len(run.predictions()) >= count)
    return run.finish()


def test_a_killed_run_ends_with_the_same_result(undisturbed, killed):
    one, other = undisturbed.record(), killed.record()
    assert other["identity"] == one["identity"]
    assert other["scores"] == one["scores"]
    assert other["training"]["losses"] == one["training"]["losses"]
    assert other["training"]["validation"] == one["training"]["validation"]


def test_a_killed_run_writes_the_same_texts_each_once(undisturbed, killed):
    def texts(run):
        rows = [json.loads(line) for line in run.predictions()]
        return sorted((row["task"], row["index"], row["text"]) for row in rows)

    assert len(texts(killed)) == 120 and texts(killed) == texts(undisturbed)


def test_training_resumes_at_its_last_state(killed):
    assert len(killed.steps) > 3
    assert all(earlier < later for earlier, later in pairwise(killed.steps))


def test_a_finished_training_is_not_repeated(killed):
    assert killed.trained == [killed.training()] * 2


def test_predictions_made_before_a_kill_are_kept(killed):
    counts = [len(lines) for lines in killed.lines]
    assert counts[:3] == [0, 0, 0] and 16 <= counts[3] < counts[4] < 120
    for lines in killed.lines:
        assert killed.predictions()[: len(lines)] == lines
