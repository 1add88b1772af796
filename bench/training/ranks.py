"""Training in several processes, one rank per device, which sum their gradients.

The ranks are started for the training alone; its result returns through the saved state.
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

import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy

from bench.errors import Failure, Terminated
from bench.training.resume import finished_steps

Watch = Callable[[int, float], None]  # called with (step, validation loss)
# One rank's part, called with its device, the path of the state, a Watch in the first rank (None
# in the others) and Lightning's strategy.
TrainRank = Callable[[torch.device, Path, Watch | None, Strategy], object]
BUCKET = 2**25  # numbers that are reduced at once, through a copy


class ManualDDP(DDPStrategy):
    """Lightning's DDP without its wrapper, which would reduce during the backward pass.

    The modules call :func:`reduce_gradients` once, after all passes of a step.
    """

    def configure_ddp(self) -> None:
        """Leave the module unwrapped."""


def reduce_gradients(
    strategy: Strategy, parameters: Iterable[torch.Tensor], loss: torch.Tensor
) -> None:
    """Replace gradients and loss of a step, (), by their sums over all ranks.

    Once per step, so that ranks may differ in their number of passes.
    """
    trained = [p for p in parameters if p.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([loss, *(p.grad for p in trained if p.grad is not None)]):
        total = strategy.reduce(torch.cat([t.flatten() for t in bucket]), reduce_op="sum")
        for own, part in zip(bucket, total.split([t.numel() for t in bucket]), strict=True):
            own.copy_(part.view_as(own))


def _buckets(tensors: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Group successive tensors of one dtype up to BUCKET numbers."""
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
    """What every rank is sent; the ranks meet in `folder`."""

    train: TrainRank
    devices: int
    device: str
    state: Path
    strategy: type[ManualDDP]
    folder: Path
    process: str

    def error(self, rank: int) -> Path:
        return self.folder / f"error {rank}"

    def report_validation(self, step: int, loss: float) -> None:
        with (self.folder / "validation").open("a") as file:
            file.write(f"{step} {loss!r}\n")

    def validations(self) -> list[tuple[int, float]]:
        path = self.folder / "validation"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [(int(step), float(loss)) for step, loss in map(str.split, lines)]


def train_in_ranks(
    train: TrainRank,
    devices: int,
    steps: int,
    device: str,
    state: Path,
    watch: Watch | None = None,
    strategy: type[ManualDDP] = ManualDDP,
) -> None:
    """Train to the end in `devices` processes.

    Args:
        train: a rank's part; it is pickled.
        steps: optimiser steps of the whole training.
        state: where the state is saved; an existing one is resumed.
        watch: called in this process after each validation; an exception that it raises ends all
            ranks.

    Raises:
        Failure: a rank process died without an error message.
        Terminated: the process received SIGTERM; the last saved state is kept.
        Exception: whatever a rank raised.
    """
    if finished_steps(state) == steps:
        return
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.current_process().name
        job = _Job(train, devices, device, state.absolute(), strategy, Path(folder), process)
        (job.folder / "job").write_bytes(pickle.dumps(job))
        with _sigterm_raises():
            _run(job, steps, watch or (lambda step, loss: None))


def _run(job: _Job, steps: int, watch: Watch) -> None:
    """Start the ranks, and kill all when one fails or this process is interrupted.

    Not children of multiprocessing: daemonic workers of a sweep can't have any, and a child that
    dies before it has read its arguments blocks its parent.
    """
    program = "import sys; from bench.training.ranks import rank; rank(sys.argv[1], sys.argv[2])"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(job.folder), str(number)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,  # closed when this process ends
            start_new_session=True,  # Ctrl-C reaches this process alone
        )
        for number in range(job.devices)
    ]
    watched = 0
    try:
        codes: list[int | None] = [None]
        while None in codes and not any(codes):
            time.sleep(0.05)
            codes = [process.poll() for process in ranks]  # before the last losses are read
            for step, loss in job.validations()[watched:]:
                watched += 1
                watch(step, loss)
    finally:
        # Not terminated: a rank that waits in a collective operation does not react.
        for process in ranks:
            process.kill()
            process.communicate()
    for number in range(job.devices):
        if job.error(number).exists():
            raise pickle.loads(job.error(number).read_bytes())
    if any(codes) or finished_steps(job.state) != steps:
        raise Failure(
            f"a rank of the training died without an error message (killed? exit codes {codes}); "
            "the same command resumes from the last saved state"
        )


def rank(folder: str, number: str) -> None:
    """Run one rank, given the folder of its job and its number from 0, in its own process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job: _Job = pickle.loads((Path(folder) / "job").read_bytes())
    own, count = int(number), job.devices
    multiprocessing.current_process().name = job.process  # decides whether a bar is drawn
    os.environ["LOCAL_RANK"] = number
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    on_gpu = job.device == "cuda"
    device = torch.device("cuda", own) if on_gpu else torch.device(job.device)
    try:
        if on_gpu:
            torch.cuda.set_device(device)
        torch.distributed.init_process_group(
            torch.distributed.Backend.default_device_backend_map[job.device],
            init_method=f"file://{job.folder / 'meeting'}",  # needs no free port
            rank=own,
            world_size=count,
            device_id=device if on_gpu else None,
        )
        strategy = job.strategy(cluster_environment=LightningEnvironment())
        job.train(device, job.state, job.report_validation if own == 0 else None, strategy)
        torch.distributed.destroy_process_group()
    except BaseException as error:
        error.add_note(f"in rank {number} of {count}:\n{traceback.format_exc()}")
        partial = job.error(own).with_suffix(".partial")
        partial.write_bytes(pickle.dumps(error))
        partial.replace(job.error(own))
        sys.exit(1)  # the parent raises it


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent's end of the pipe is closed
    os._exit(1)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Raise Terminated on SIGTERM, as Lightning does while it trains in this process."""

    def raise_it(*_: object) -> None:
        raise Terminated("ended by SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        yield  # signal handlers can be set in the main thread only
        return
    before = signal.signal(signal.SIGTERM, raise_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
