"""The saved state from which a killed training resumes."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

_log = logging.getLogger(__name__)


class SaveState(Callback):
    """Saves the state of a training at intervals, atomically.

    Not Lightning's ModelCheckpoint: it ignores its time interval under manual optimisation.
    """

    def __init__(self, path: Path, minutes: float, at_end: bool = False) -> None:
        self.path, self.seconds, self.at_end = path, 60.0 * minutes, at_end
        self.saved = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Save if the interval has passed, or at the end if asked to."""
        due = time.monotonic() - self.saved >= self.seconds
        # Saving is collective and the ranks' clocks differ.
        due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if due or (self.at_end and trainer.global_step == trainer.max_steps):
            partial = self.path.with_suffix(".partial")
            try:
                trainer.save_checkpoint(partial)
                if trainer.is_global_zero:
                    partial.replace(self.path)
            finally:
                if trainer.is_global_zero:
                    partial.unlink(missing_ok=True)  # incomplete when the disk is full
            self.saved = time.monotonic()


def finished_steps(state: Path | None) -> int:
    """Optimiser steps of a saved state; 0 if there is none.

    A state that can't be read is deleted with a warning, and the training starts over.
    """
    if state is None or not state.is_file():
        return 0
    try:
        return int(torch.load(state, weights_only=True, map_location="cpu")["global_step"])
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch raises anything for a damaged file
        _log.warning("%s is damaged, training starts over: %s", state, type(error).__name__)
        state.unlink(missing_ok=True)
        return 0
