"""What a Lightning run says while it works: our progress, and none of Lightning's asides."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from bench.progress import Progress

ASIDES = (
    ".*does not have many workers.*",
    ".*treespec.*",
    ".*Checkpoint directory .* exists.*",
    ".*your dataloader is not resumable.*",  # ours starts at the right step
    ".*max_epochs. was not set.*",
    ".*in eval mode at the start of training.*",
)


def quiet_lightning() -> None:
    """Keep notes on hardware, hints on workers and others' deprecations off the screen."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in ASIDES:
        warnings.filterwarnings("ignore", message=message)


class ShowProgress(Callback):
    """Tells step, loss and remaining time; the module has `total_steps` and `last_loss`."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.progress: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self.progress = Progress(self.title, module.total_steps, "step", start=module.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        assert self.progress is not None
        self.progress.update(1, loss=module.last_loss)

    def teardown(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        if self.progress is not None:
            self.progress.close()
