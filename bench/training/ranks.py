"""Several processes, one rank per device, that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.errors import Failure, ended_by_sigterm

Watch = Callable[[int, float], None]  # called with (step, validation loss)
# One rank's part, called with its device and a Watch in the first rank (None in the others).
Part = Callable[[torch.device, Watch | None], object]


@dataclass(frozen=True)
class _Job:
    """What is sent to every rank; the ranks find each other in `folder`."""

    part: Part
    devices: int
    device: str
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


def run_ranks(part: Part, devices: int, device: str, watch: Watch | None = None) -> None:
    """Run a part in each of `devices` processes on devices of one type, to the end.

    The processes are not children of multiprocessing: daemonic workers of a sweep can't have any,
    and a child that dies before it has read its arguments blocks its parent.

    The part is pickled. `watch` is called in this process after each validation; an exception that
    it raises ends all ranks.

    Raises:
        Failure: a rank process died without an error message.
        Terminated: the process received SIGTERM.
        Exception: whatever a rank raised.
    """
    program = "import sys; from bench.training.ranks import rank; rank(sys.argv[1], sys.argv[2])"
    with tempfile.TemporaryDirectory() as folder, ended_by_sigterm():
        job = _Job(part, devices, device, Path(folder), multiprocessing.current_process().name)
        (job.folder / "job").write_bytes(pickle.dumps(job))
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", program, folder, str(number)],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.PIPE,  # closed when this process ends
                start_new_session=True,  # Ctrl-C reaches this process alone
            )
            for number in range(devices)
        ]
        watched = 0
        try:
            codes: list[int | None] = [None]
            while None in codes and not any(codes):
                time.sleep(0.05)
                codes = [process.poll() for process in ranks]  # before the last losses are read
                for step, loss in job.validations()[watched:]:
                    watched += 1
                    if watch is not None:
                        watch(step, loss)
        finally:
            # Not terminated: a rank that waits in a collective operation does not react.
            for process in ranks:
                process.kill()
                process.communicate()
        for number in range(devices):
            if job.error(number).exists():
                raise pickle.loads(job.error(number).read_bytes())
        if any(codes):
            raise Failure(
                "a rank of the training died without an error message (killed? exit codes "
                f"{codes}); the same command resumes from the last saved state"
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
        job.part(device, job.report_validation if own == 0 else None)
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
