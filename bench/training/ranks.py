"""Fine-tuning in several processes, a rank on each device, that add their gradients up.

The ranks are started for the training alone and end with it; what they learned comes back in the
state that a resume would go on from. The process that starts them waits, and then evaluates.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from peft import PeftConfig, get_peft_model

from bench.errors import Failure, Terminated
from bench.methods import quiet_peft
from bench.models.loading import load_base
from bench.models.settings import ModelSettings
from bench.training.loop import Work, train
from bench.training.module import without_frozen
from bench.training.resume import finished_steps


class AddsUpOnce(DDPStrategy):
    """Lightning's DDP without the wrapper that sends gradients during the backward pass.

    FineTuning adds them up itself, behind all passes of a step.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


@dataclass(frozen=True)
class _Job:
    """What every rank is given; in `folder` it lies, and there the ranks meet."""

    base: ModelSettings
    adapter: PeftConfig
    weights: dict[str, torch.Tensor]
    device: str
    work: Work
    state: Path
    folder: Path
    process: str

    def error(self, rank: int) -> Path:
        """Where a rank leaves what went wrong."""
        return self.folder / f"error {rank}"

    def tell(self, step: int, loss: float) -> None:
        """Hand a validation loss on to the process that watches."""
        with (self.folder / "validation").open("a") as file:
            file.write(f"{step} {loss!r}\n")

    def told(self) -> list[tuple[int, float]]:
        """The validation losses handed on so far, each a line that is whole."""
        path = self.folder / "validation"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [(int(step), float(loss)) for step, loss in map(str.split, lines)]


def train_in_ranks(
    model: Any,
    base: ModelSettings | None,
    work: Work,
    state: Path,
    watch: Callable[[int, float], None] | None = None,
) -> None:
    """Train an adapter to its end in `work.settings.devices` processes.

    Args:
        model: a peft model; it is left as it is, and what its adapter starts with is taken from it.
        base: the model's base, which every rank loads on its device.
        work: what to train on.
        state: where the state is saved; one found there is gone on from. In the end the adapter's
            last is there.
        watch: called in this process with (step, validation loss) after one is taken; what it
            raises ends all ranks.

    Raises:
        ValueError: `base` is not given.
        Failure: a rank ended without a word, as by a kill.
        Terminated: the process was told to end; the last saved state stays.
        Exception: whatever went wrong in a rank.
    """
    if finished_steps(state) == len(work.steps):
        return
    if base is None:
        raise ValueError("on several devices the ranks load the base themselves: give base=")
    with tempfile.TemporaryDirectory() as folder:
        job = _Job(
            base=base,
            adapter=model.peft_config[model.active_adapter],
            weights={n: w.cpu() for n, w in without_frozen(model, model.state_dict()).items()},
            device=next(model.parameters()).device.type,
            work=work,
            state=state.absolute(),
            folder=Path(folder),
            process=multiprocessing.current_process().name,
        )
        (job.folder / "job").write_bytes(pickle.dumps(job))
        with _sigterm_raises():
            _run(job, watch or (lambda step, loss: None))


def _run(job: _Job, watch: Callable[[int, float], None]) -> None:
    """Start the ranks, and end all as soon as one fails or this process is told to end.

    Programs of their own and not multiprocessing's children: those can't be had in every worker of
    a sweep, and one that dies before it has read what it is given leaves its parent waiting.
    """
    count = job.work.settings.devices
    program = "import sys; from bench.training.ranks import rank; rank(sys.argv[1], sys.argv[2])"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(job.folder), str(number)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,  # its end tells a rank that this process is no more
            start_new_session=True,  # a Ctrl-C is this process's to answer
        )
        for number in range(count)
    ]
    watched = 0
    try:
        codes: list[int | None] = [None]
        while None in codes and not any(codes):
            time.sleep(0.05)
            codes = [process.poll() for process in ranks]  # before the last losses are read
            for step, loss in job.told()[watched:]:
                watched += 1
                watch(step, loss)
    finally:
        # Not asked to end: a rank that waits for another in a sum of gradients does not hear it.
        for process in ranks:
            process.kill()
            process.communicate()
    for number in range(count):
        if job.error(number).exists():
            raise pickle.loads(job.error(number).read_bytes())
    if any(codes) or finished_steps(job.state) != len(job.work.steps):
        raise Failure(
            f"a rank of the fine-tuning was killed (exit codes {codes}); the same command goes on "
            "from the last saved state"
        )


def rank(folder: str, number: str) -> None:
    """One rank's part, in a process of its own.

    Args:
        folder: where its job lies.
        number: of the rank, from 0.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job: _Job = pickle.loads((Path(folder) / "job").read_bytes())
    own, count = int(number), job.work.settings.devices
    multiprocessing.current_process().name = job.process  # it says who may draw a bar
    os.environ["LOCAL_RANK"] = number
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    on_gpu = job.device == "cuda"
    device = torch.device("cuda", own) if on_gpu else torch.device(job.device)
    try:
        if on_gpu:
            torch.cuda.set_device(device)
        torch.distributed.init_process_group(
            torch.distributed.Backend.default_device_backend_map[job.device],
            init_method=f"file://{job.folder / 'meeting'}",  # no port that another could take
            rank=own,
            world_size=count,
            device_id=device if on_gpu else None,
        )
        strategy = AddsUpOnce(cluster_environment=LightningEnvironment())
        watch = job.tell if own == 0 else None
        train(_model(job, device), job.work, job.state, watch, strategy)
        torch.distributed.destroy_process_group()
    except BaseException as error:
        error.add_note(f"in rank {number} of {count}:\n{traceback.format_exc()}")
        partial = job.error(own).with_suffix(".partial")
        partial.write_bytes(pickle.dumps(error))
        partial.replace(job.error(own))
        sys.exit(1)  # the process that started it tells


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing is ever written: it returns when the other end is closed
    os._exit(1)


def _model(job: _Job, device: torch.device) -> Any:
    """The model that the ranks' process has, on this rank's device."""
    base, _ = load_base(job.base, device)
    with quiet_peft():
        model = get_peft_model(base, job.adapter)
    model.load_state_dict(job.weights, strict=False)
    return model


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Make a SIGTERM the error that it is while Lightning is at work in this process."""

    def raise_it(*_: Any) -> None:
        raise Terminated("ended by SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        yield  # where no handler can be set
        return
    before = signal.signal(signal.SIGTERM, raise_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
