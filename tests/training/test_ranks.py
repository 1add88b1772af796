"""Fine-tuning in two processes; also a script that trains, for a test that kills it."""

import dataclasses
import pickle
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

from bench.errors import Failure, Pruned, Terminated
from bench.training.finetune import _load
from bench.training.loop import finished_steps
from bench.training.ranks import run_ranks
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


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", LORA | {"lora_dropout": 0.2}),
        ("lora", LORA | {"use_dora": True}),
        ("hyplora", LORA | {"learnable_curvature": True}),
        ("bottleneck", {"bottleneck_size": 4, "target_modules": ["up_proj"]}),
        ("prefix", {"num_virtual_tokens": 4}),
    ],
)
def test_two_ranks_learn_what_one_process_learns(job, assert_close, method, options, sharded):
    own = job | {"method": method, "options": options}
    two = dataclasses.replace(job["settings"], devices=2, sharded=sharded)
    if sharded and method != "prefix":  # a large base needs it, too
        two = dataclasses.replace(two, gradient_checkpointing=True)
    assert_close(train(**own | {"settings": two}), train(**own))


@pytest.mark.parametrize("devices", [1, 2])
def test_a_sharded_training_resumes_with_another_number_of_processes(
    job, assert_close, killed, tmp_path, devices
):
    settings = dataclasses.replace(job["settings"], validations=4, checkpoint_minutes=1e-6)
    two = dataclasses.replace(settings, devices=2, sharded=True)
    first, second = (settings, two) if devices == 1 else (two, settings)
    seen = []

    def ends(step, loss):
        seen.append(step)
        raise Pruned("enough")

    with pytest.raises(Pruned):
        train(**job | {"settings": first, "checkpoints": tmp_path}, watch=ends)
    resumed = train(**job | {"settings": second, "checkpoints": tmp_path})
    assert_close(resumed, train(**job | {"settings": settings}))


@pytest.mark.parametrize("sharded", [False, True])
def test_two_ranks_with_other_numbers_of_micro_batches_learn_the_same(job, assert_close, sharded):
    by_tokens = dataclasses.replace(job["settings"], micro_tokens=30)
    two = dataclasses.replace(by_tokens, devices=2, sharded=sharded)
    assert_close(train(**job | {"settings": two}), train(**job))


def check_shards(load, device, watch):
    for parameter in load(device).parameters():
        assert isinstance(parameter, DTensor) != parameter.requires_grad
        assert parameter.requires_grad or parameter.to_local().numel() < parameter.numel()


def test_the_base_is_sharded_and_the_adapter_whole(where):
    model = untrained(where)
    weights = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    load = partial(_load, where, model.peft_config["default"], weights, True)
    run_ranks(partial(check_shards, load), 2, "cpu")


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


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def within(seconds, condition):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not condition():
        time.sleep(0.001)
    return condition()


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
            ranks = psutil.Process(process.pid).children(recursive=True)
            assert len(ranks) >= 2
            name, _, other = sent.partition(" ")
            (ranks[-1] if other else process).send_signal(getattr(signal, name))
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
