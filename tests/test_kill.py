"""A run that is killed with SIGKILL again and again ends as one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # eight processes, two minutes

PROJECT = Path(__file__).resolve().parent.parent
LIMIT = 120.0  # seconds that a process may take to come to the moment of its kill, or to its end
ARGUMENTS = (
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
        steps: of the states for a resume, in the order in which they were seen.
        lines: of predictions.jsonl at each kill.
        trained: the file training.json, and when it was written, at each kill after training.
    """

    def __init__(self, results):
        self.results, self.log = results, results.with_suffix(".log")
        self.steps, self.lines, self.trained = [], [], []
        self.state_written = 0

    def file(self, name):
        """A file of the run's folder, whose name is not known before the run has made it."""
        return next(self.results.glob("runs/*"), self.results / "runs" / "none yet") / name

    def record(self):
        return json.loads(self.file("record.json").read_text())

    def predictions(self):
        """The whole lines that have been written so far."""
        path = self.file("predictions.jsonl")
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [line for line in lines if line.endswith(b"\n")]

    def training(self):
        path = self.file("training.json")
        return path.stat().st_mtime_ns, path.read_text()

    def step(self):
        """The step of the saved state, 0 where there is none."""
        path = self.file("checkpoint/last.ckpt")
        if not path.exists():
            return 0
        if path.stat().st_mtime_ns != self.state_written:
            self.state_written = path.stat().st_mtime_ns
            self.steps.append(torch.load(path, weights_only=True)["global_step"])
        return self.steps[-1]

    def finish(self):
        with self.process() as process:
            assert process.wait(timeout=LIMIT) == 0, self.log.read_text()

    def kill_when(self, come):
        """Start or go on, and kill the process and its children as soon as `come()` is true."""
        with self.process() as process:
            deadline = time.monotonic() + LIMIT
            while not come():
                assert process.poll() is None, f"it ended before its kill: {self.log.read_text()}"
                assert time.monotonic() < deadline, f"nothing came: {self.log.read_text()}"
                time.sleep(0.0005)
            os.killpg(process.pid, signal.SIGKILL)
            assert process.wait(timeout=LIMIT) == -signal.SIGKILL, "it ended before its kill"
        self.lines.append(self.predictions())
        if self.file("training.json").exists():
            self.trained.append(self.training())

    @contextmanager
    def process(self):
        # A processor's float32 repeats to the bit; a GPU's bf16 need not.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        with self.log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "bench/run.py", *ARGUMENTS, f"tracking.folder={self.results}"],
                cwd=PROJECT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("undisturbed") / "results")
    run.finish()
    return run


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that was killed three times in training and three times in evaluation, then ended."""
    run = Run(tmp_path_factory.mktemp("killed") / "results")

    def between_two_saves():
        path = run.file("checkpoint/last.ckpt")
        return run.step() >= 16 and time.time() - path.stat().st_mtime >= 0.4

    def while_a_state_is_written():
        # That takes milliseconds; where none of ten is met, one just written has to do.
        partial = run.file("checkpoint/last.partial").exists()
        return (run.step() >= 26 and partial) or run.step() >= 40

    run.kill_when(lambda: run.step() > 0)
    run.kill_when(between_two_saves)
    run.kill_when(while_a_state_is_written)
    for count in (16, 52, 96):  # of 120
        run.kill_when(lambda count=count: run.step() and len(run.predictions()) >= count)
    run.finish()
    return run


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


def test_training_goes_on_from_its_last_state(killed):
    assert len(killed.steps) > 3
    assert all(earlier < later for earlier, later in pairwise(killed.steps))


def test_a_finished_training_is_not_repeated(killed):
    assert killed.trained == [killed.training()] * 3


def test_predictions_made_before_a_kill_stay_the_first(killed):
    counts = [len(lines) for lines in killed.lines]
    assert counts[:3] == [0, 0, 0] and 16 <= counts[3] < counts[4] < counts[5] < 120
    for lines in killed.lines:
        assert killed.predictions()[: len(lines)] == lines
