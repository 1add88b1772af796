"""Progress and validation of a training."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from bench.data.batches import Example, batches
from bench.memory import halving
from bench.progress import Progress
from bench.training.loss import LESS_MEMORY, target_loss
from bench.training.ranks import Watch
from bench.training.settings import TrainSettings


class ShowProgress(Callback):
    """Shows step, loss and remaining time of a `bench.training.loop.StepModule`."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.progress: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.is_global_zero:
            first = module.global_step
            self.progress = Progress(self.title, module.total_steps, "step", start=first)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        if self.progress is not None:
            self.progress.update(1, loss=module.last_loss)

    def teardown(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        if self.progress is not None:
            self.progress.close()


class Validate(Callback):
    """Computes the validation loss when it is due, and keeps the best adapter if asked to.

    Not Lightning's validation loop: its counters do not survive a resume within an epoch.
    """

    def __init__(
        self, rows: list[Example], settings: TrainSettings, watch: Watch | None = None
    ) -> None:
        self.rows = sorted(rows, key=lambda row: len(row.ids))
        self.settings, self.batch_size, self.watch = settings, settings.batch_size, watch
        self.targets = sum(row.targets for row in rows)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        step = module.global_step
        if not self.settings.validates(step, module.total_steps):
            return

        def loss(size: int) -> float:
            self.batch_size = size
            own = self.rows[trainer.global_rank :: trainer.world_size]
            return sum(
                float(target_loss(module.model, trainer.strategy.batch_to_device(batch)))
                for batch in batches(own, size, module.steps.pad_id)
            )

        module.eval()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            own_loss = halving(loss, self.batch_size, f"{module.title}, validation", LESS_MEMORY)
        module.train()
        total = torch.tensor(own_loss, dtype=torch.float64, device=module.device)
        total = trainer.strategy.reduce(total, reduce_op="sum")
        module.validation.append((step, float(total) / self.targets))
        if self.settings.keep == "best":
            module.best.update(*module.validation[-1], module)
        if self.watch is not None:
            self.watch(*module.validation[-1])
