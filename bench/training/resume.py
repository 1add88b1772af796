"""Trainings that can be killed at any moment and go on from their last saved state."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from bench.errors import Terminated

_log = logging.getLogger(__name__)


class StepLoader:
    """The batches that are left, with the length of all: on a resume Lightning counts by both."""

    def __init__(self, left: Iterable[Any], total: int) -> None:
        self.left, self.total = left, total

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[Any]:
        return iter(self.left)


class SaveState(Callback):
    """Saves what a resume needs now and then, whole or not at all.

    Not Lightning's ModelCheckpoint: under manual optimisation it passes over its time interval.
    """

    def __init__(self, path: Path, minutes: float, at_end: bool = False) -> None:
        self.path, self.seconds, self.at_end = path, 60.0 * minutes, at_end
        self.saved = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Save when the time has come."""
        due = time.monotonic() - self.saved >= self.seconds
        # All ranks meet where one saves, and their clocks are not the same.
        due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if due or (self.at_end and trainer.global_step == trainer.max_steps):
            partial = self.path.with_suffix(".partial")
            try:
                trainer.save_checkpoint(partial)
                if trainer.is_global_zero:
                    partial.replace(self.path)
            finally:
                if trainer.is_global_zero:
                    partial.unlink(missing_ok=True)  # half a state on a full disk takes space
            self.saved = time.monotonic()


def finished_steps(state: Path | None) -> int:
    """The optimiser steps behind a saved state; 0 where there is none.

    A state that can't be read is taken away with a warning: the training starts over.
    """
    if state is None or not state.is_file():
        return 0
    try:
        return int(torch.load(state, weights_only=True, map_location="cpu")["global_step"])
    except (OSError, MemoryError):
        raise
    except Exception as error:  # half a file, or another's: torch raises what it stumbles over
        _log.warning("%s is damaged, training starts over: %s", state, type(error).__name__)
        state.unlink(missing_ok=True)
        return 0


def fit(
    trainer: L.Trainer, module: L.LightningModule, training: StepLoader, state: Path | None
) -> None:
    """Lightning's fit, with a KeyboardInterrupt that stays one and a SIGTERM that is an error.

    Lightning turns both into SystemExit, the second with code 0, and switches further Ctrl-C off.

    Args:
        trainer: without checkpoints of its own.
        module: what is trained.
        training: the steps behind `state`.
        state: what `SaveState` wrote; None to start.

    Raises:
        Terminated: the process was told to end; the last saved state stays.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, training, ckpt_path=state, weights_only=True)
    except SIGTERMException as error:
        raise Terminated("ended by SIGTERM") from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from error
        raise
