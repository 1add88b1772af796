"""Fine-tuning in two processes, which also runs as a script that a test kills."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.data.batches import IGNORED, Example
from bench.errors import Failure, Pruned, Terminated
from bench.methods import attach
from bench.models.loading import load_base
from bench.models.settings import ModelSettings
from bench.training.finetune import finetune
from bench.training.resume import finished_steps
from bench.training.settings import TrainSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # each training starts two processes

SETTINGS = TrainSettings(
    lr=1e-2,
    epochs=2.0,
    batch_size=9,  # the last step of 28 rows has one, so a rank has none
    micro_batch_size=2,
    devices=1,
    curvature_lr_factor=1.0,
    weight_decay=0.0,
    warmup=0.1,
    decay="linear",
    gradient_clip=1.0,
    train_on_inputs=False,
    precision="32-true",
    validations=2,
    checkpoint_minutes=60.0,
)
TARGETS = {"target_modules": ["q_proj", "down_proj"]}
LONG = {
    "devices": 2,
    "epochs": 90.0,
    "checkpoint_minutes": 1e-6,
    "options": TARGETS | {"r": 4, "lora_dropout": 0.2},
}


def rows(count=14):
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(count):
        length = int(torch.randint(5, 20, (), generator=generator))
        ids = torch.randint(3, 200, (length,), generator=generator).tolist()
        made.append(Example(ids, [IGNORED] * (length // 2) + ids[length // 2 :]))
    return made


def train(
    folder, method="lora", options=TARGETS | {"r": 4}, checkpoints=None, watch=None, **changes
):
    base = ModelSettings("local", str(folder), None, "float32", None, False)
    torch.manual_seed(0)
    model = attach(load_base(base, torch.device("cpu"))[0], method, options)
    settings = dataclasses.replace(SETTINGS, **changes)
    done = finetune(model, rows(), rows(5), settings, 0, 0, checkpoints, watch=watch, base=base)
    return done, {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


def assert_same(one, other):
    assert one[1].keys() == other[1].keys()
    assert all(torch.allclose(one[1][n], other[1][n], rtol=0, atol=1e-5) for n in one[1])
    for kind in ("losses", "validation"):
        first, second = getattr(one[0], kind), getattr(other[0], kind)
        assert [step for step, _ in first] == [step for step, _ in second]
        assert [v for _, v in first] == pytest.approx([v for _, v in second], rel=1e-5)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", TARGETS | {"r": 4}),
        ("hyplora", TARGETS | {"r": 4, "learnable_curvature": True}),
        ("prefix", {"num_virtual_tokens": 4}),
    ],
)
def test_two_ranks_learn_what_one_process_learns(local_base, method, options):
    one = train(local_base, method, options)
    assert_same(train(local_base, method, options, devices=2), one)


def test_an_error_in_a_rank_is_raised_as_in_one_process(local_base, tmp_path):
    base = shutil.copytree(local_base, tmp_path / "base")
    (file,) = base.glob("*.safetensors")
    weights = load_file(file)
    weights["model.norm.weight"].fill_(3e38)  # logits are infinite
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(FloatingPointError, match=r"lower train\.lr"):
        train(base, devices=2)


def test_a_watch_can_end_all_ranks(local_base):
    seen = []

    def watch(step, loss):
        seen.append((step, loss))
        if len(seen) == 2:
            raise Pruned("enough")

    changes = LONG | {"validations": 140}
    with pytest.raises(Pruned):
        train(local_base, watch=watch, **changes)
    done, _ = train(local_base, **changes)
    assert seen == done.validation[:2]


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
@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM", "SIGKILL", "SIGKILL to a rank"])
def test_ranks_end_with_their_process_and_resume(local_base, tmp_path, sent):
    state = tmp_path / "last.ckpt"
    script = Path(__file__).resolve()
    with subprocess.Popen([sys.executable, script, local_base, tmp_path], text=True) as process:
        try:
            assert within(120, lambda: finished_steps(state) >= 5)
            ranks = children(process.pid)
            assert len(ranks) >= 2
            name, _, other = sent.partition(" ")
            os.kill(ranks[-1] if other else process.pid, getattr(signal, name))
            ended = process.wait(timeout=20)
            assert within(20, lambda: not any(map(alive, ranks))), "a rank outlived its process"
        finally:
            process.kill()
    codes = {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -signal.SIGKILL, "SIGKILL to a rank": 1}
    assert ended == codes[sent]
    first = finished_steps(state)
    assert 5 <= first < 140
    undisturbed = train(local_base, **LONG)
    assert_same(train(local_base, checkpoints=tmp_path, **LONG), undisturbed)


if __name__ == "__main__":
    try:
        train(sys.argv[1], checkpoints=Path(sys.argv[2]), **LONG)
    except Terminated:
        sys.exit(143)
    except KeyboardInterrupt:
        sys.exit(130)
    except Failure:
        sys.exit(1)
