"""The command line in processes forked from one that has imported everything, which start at once.

They can be killed like any other, with what they have started.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path

IMPORTED = (
    "bench.pretraining.run bench.run bench.runs.finetuning bench.sweep.search "
    "mlflow.store.tracking.sqlalchemy_store peft transformers.models.llama.modeling_llama"
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(IMPORTED.split())


@contextmanager
def running(arguments: Sequence[str], log: Path) -> Iterator[ForkServerProcess]:
    """`python bench/run.py ARGUMENTS` in a session of its own, ended with the context."""
    process = CONTEXT.Process(target=_main, args=(tuple(arguments), log))
    process.start()
    try:
        yield process
    finally:
        if process.is_alive():
            kill(process)


def kill(process: ForkServerProcess) -> None:
    """End a process and its children with SIGKILL."""
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _main(arguments: tuple[str, ...], log: Path) -> None:
    os.setsid()
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    # float32 on a processor is reproducible to the bit; bf16 on a GPU need not be.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    sys.argv = ["bench/run.py", *arguments]
    from bench.run import main

    sys.exit(main())
