"""Training in several processes, a rank on each device, that add their gradients up.

The ranks are started for the training alone and end with it; what they learned comes back in the
state that a resume would go on from. The process that starts them waits, and then goes on alone.
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy

from bench.errors import Failure, Terminated
from bench.training.resume import finished_steps

Watch = Callable[[int, float], None]  # called with (step, validation loss)
BUCKET = 2**25  # numbers that are added up at once, of which a copy is made


class Shared(Protocol):
    """A training that ranks share: plain data, that another process can be given."""

    @property
    def devices(self) -> int:
        """How many ranks."""

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""

    @property
    def strategy(self) -> type[AddsUpOnce]:
        """How the ranks are told to work together."""

    def train(
        self, device: torch.device, state: Path, watch: Watch | None, strategy: Strategy
    ) -> object:
        """One rank's part.

        Args:
            device: the rank's own.
            state: where the state is saved; one found there is gone on from.
            watch: called after each validation, in the first rank; None in the others.
            strategy: Lightning's.
        """


class AddsUpOnce(DDPStrategy):
    """Lightning's DDP without the wrapper that sends gradients during the backward pass.

    The modules add them up themselves, behind all passes of a step.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


def add_up(strategy: Strategy, parameters: Iterable[torch.Tensor], loss: torch.Tensor) -> None:
    """Put the sum over all ranks in the place of what each has of a step.

    Once, behind the passes of all: a rank whose share of a step is smaller, or that had to halve
    it, holds no other up.

    Args:
        strategy: of the ranks.
        parameters: the same in each rank; those whose gradients are added up.
        loss: of one number; added up in place.
    """
    trained = [p for p in parameters if p.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([loss, *(p.grad for p in trained if p.grad is not None)]):
        whole = strategy.reduce(torch.cat([t.flatten() for t in bucket]), reduce_op="sum")
        for own, part in zip(bucket, whole.split([t.numel() for t in bucket]), strict=True):
            own.copy_(part.view_as(own))


def _buckets(tensors: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Tensors in groups of one dtype and of so many numbers, as far as each alone is not larger."""
    bucket: list[torch.Tensor] = []
    held = 0
    for tensor in tensors:
        if bucket and (held + tensor.numel() > BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(tensor)
        held += tensor.numel()
    if bucket:
        yield bucket


@dataclass(frozen=True)
class _Job:
    """What every rank is given; in `folder` it lies, and there the ranks meet."""

    shared: Shared
    device: str
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


def train_in_ranks(shared: Shared, device: str, state: Path, watch: Watch | None = None) -> None:
    """Train to the end in `shared.devices` processes.

    Args:
        shared: what to train.
        device: the type of the ranks' devices.
        state: where the state is saved; one found there is gone on from. In the end the last is
            there.
        watch: called in this process with (step, validation loss) after one is taken; what it
            raises ends all ranks.

    Raises:
        Failure: a rank ended without a word, as by a kill.
        Terminated: the process was told to end; the last saved state stays.
        Exception: whatever went wrong in a rank.
    """
    if finished_steps(state) == shared.steps:
        return
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.current_process().name
        job = _Job(shared, device, state.absolute(), Path(folder), process)
        (job.folder / "job").write_bytes(pickle.dumps(job))
        with _sigterm_raises():
            _run(job, watch or (lambda step, loss: None))


def _run(job: _Job, watch: Watch) -> None:
    """Start the ranks, and end all as soon as one fails or this process is told to end.

    Programs of their own and not multiprocessing's children: those can't be had in every worker of
    a sweep, and one that dies before it has read what it is given leaves its parent waiting.
    """
    count = job.shared.devices
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
    if any(codes) or finished_steps(job.state) != job.shared.steps:
        raise Failure(
            f"a rank of the training was killed (exit codes {codes}); the same command goes on "
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
    own, count = int(number), job.shared.devices
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
        strategy = job.shared.strategy(cluster_environment=LightningEnvironment())
        watch = job.tell if own == 0 else None
        job.shared.train(device, job.state, watch, strategy)
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


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Make a SIGTERM the error that it is while Lightning is at work in this process."""

    def raise_it(*_: object) -> None:
        raise Terminated("ended by SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        yield  # where no handler can be set
        return
    before = signal.signal(signal.SIGTERM, raise_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
