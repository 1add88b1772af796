"""A pretraining that is killed with SIGKILL again and again ends with the same weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # five processes, a minute

PROJECT = Path(__file__).resolve().parent.parent
ARGUMENTS = (
    "action=pretrain",
    "model=helm_mice",
    "action.steps=60",
    "action.step_tokens=256",
    "action.row_tokens=64",
    "action.documents=200",
    "action.evaluations=3",
    "action.checkpoint_minutes=0.005",
)


def start(results):
    return subprocess.Popen(
        [sys.executable, "bench/run.py", *ARGUMENTS, f"tracking.folder={results}"],
        cwd=PROJECT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_at(results, step):
    """Begin or go on, and kill when so many steps are in the saved state; how many there are."""
    process, deadline = start(results), time.monotonic() + 120
    try:
        while True:
            assert process.poll() is None, "it ended before its kill"
            assert time.monotonic() < deadline, f"step {step} did not come"
            for state in results.glob("runs/*/checkpoint/last.ckpt"):
                found = torch.load(state, weights_only=True)["global_step"]
                if found >= step:
                    return found
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finish(results):
    assert start(results).wait(timeout=240) == 0
    (path,) = results.glob("runs/*/record.json")
    return json.loads(path.read_text()), (path.parent / "model/model.safetensors").read_bytes()


def test_a_killed_pretraining_ends_with_the_same_weights(tmp_path):
    steps = [kill_at(tmp_path / "killed", step) for step in (5, 25, 45)]
    assert steps == sorted(steps) and steps[-1] < 60
    killed, weights = finish(tmp_path / "killed")
    whole, undisturbed = finish(tmp_path / "whole")
    assert weights == undisturbed
    assert killed["identity"] == whole["identity"]
    for name in ("order", "losses", "held_out", "curvatures", "bits_per_byte", "layers"):
        assert killed["training"][name] == whole["training"][name], name
