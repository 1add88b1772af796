"""Fine-tuning in two processes; also a script that trains, for a test that kills it."""

import dataclasses
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bench.errors import Failure, Pruned, Terminated
from bench.training.loop import finished_steps
from tests.training.conftest import LORA, finetuned, untrained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # each training starts two processes


def train(where, rows, settings, method="lora", options=LORA, checkpoints=None, watch=None):
    model = untrained(where, method, options)
    return finetuned(model, where, rows[:14], rows[14:], settings, 0, checkpoints, watch)


@pytest.fixture
def job(where, rows, settings):
    """Arguments of `train`; the last step of 28 rows has one, so that a rank has none."""
    settings = dataclasses.replace(settings, batch_size=9, micro_batch_size=2)
    return {"where": where, "rows": rows(14) + rows(5), "settings": settings}


@pytest.fixture
def long(job):
    """A training that can be killed, of 140 steps."""
    often = {"devices": 2, "epochs": 90.0, "checkpoint_minutes": 1e-6}
    settings = dataclasses.replace(job["settings"], **often)
    return job | {"settings": settings, "options": LORA | {"lora_dropout": 0.2}}


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", LORA | {"lora_dropout": 0.2}),
        ("hyplora", LORA | {"learnable_curvature": True}),
        ("prefix", {"num_virtual_tokens": 4}),
    ],
)
def test_two_ranks_learn_what_one_process_learns(job, assert_close, method, options):
    own = job | {"method": method, "options": options}
    two = dataclasses.replace(job["settings"], devices=2)
    assert_close(train(**own | {"settings": two}), train(**own))


def test_an_error_in_a_rank_is_raised_as_in_one_process(job, tmp_path):
    base = shutil.copytree(job["where"].path, tmp_path / "base")
    (file,) = base.glob("*.safetensors")
    weights = load_file(file)
    weights["model.norm.weight"].fill_(3e38)  # logits are infinite
    save_file(weights, file, {"format": "pt"})
    two = dataclasses.replace(job["settings"], devices=2)
    where = dataclasses.replace(job["where"], path=str(base))
    with pytest.raises(FloatingPointError, match=r"lower train\.lr"):
        train(**job | {"where": where, "settings": two})


def test_a_watch_can_end_all_ranks(long):
    seen = []

    def watch(step, loss):
        seen.append((step, loss))
        if len(seen) == 2:
            raise Pruned("enough")

    long = long | {"settings": dataclasses.replace(long["settings"], validations=140)}
    with pytest.raises(Pruned):
        train(**long, watch=watch)
    assert seen == train(**long).done.validation[:2]


def children(pid):
    """Child processes, recursively."""
    own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in own] + [c for child in own for c in children(int(child))]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def within(seconds, condition):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not condition():
        time.sleep(0.001)
    return condition()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("sent", "code"),
    [("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -signal.SIGKILL), ("SIGKILL to a rank", 1)],
)
def test_ranks_end_with_their_process_and_resume(long, assert_close, tmp_path, sent, code):
    state = tmp_path / "last.ckpt"
    (tmp_path / "job").write_bytes(pickle.dumps(long | {"checkpoints": tmp_path}))
    script = Path(__file__).resolve()
    with subprocess.Popen([sys.executable, script, tmp_path / "job"]) as process:
        try:
            assert within(120, lambda: finished_steps(state) >= 5)
            ranks = children(process.pid)
            assert len(ranks) >= 2
            name, _, other = sent.partition(" ")
            os.kill(ranks[-1] if other else process.pid, getattr(signal, name))
            assert process.wait(timeout=20) == code
            assert within(20, lambda: not any(map(alive, ranks))), "a rank outlived its process"
        finally:
            process.kill()
    assert 5 <= finished_steps(state) < 140
    assert_close(train(**long, checkpoints=tmp_path), train(**long))


if __name__ == "__main__":
    try:
        train(**pickle.loads(Path(sys.argv[1]).read_bytes()))
    except Terminated:
        sys.exit(143)
    except KeyboardInterrupt:
        sys.exit(130)
    except Failure:
        sys.exit(1)
