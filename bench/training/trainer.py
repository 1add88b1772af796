"""Lightning's Trainer as this project uses it: silent, and without checkpoints of its own."""

from __future__ import annotations

import logging
import math
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from bench.errors import Terminated

SILENCED = (
    ".*does not have many workers.*",
    ".*treespec.*",
    ".*Checkpoint directory .* exists.*",
    ".*your dataloader is not resumable.*",  # ours starts at the right step
    ".*max_epochs. was not set.*",
    ".*in eval mode at the start of training.*",
)


class StepModule(L.LightningModule):
    """A module for which each batch is a whole optimiser step.

    Attributes:
        total_steps: optimiser steps of the whole training.
        last_loss: loss of the last step, ().
        losses: (step, loss) at up to `recorded_losses` steps.
    """

    recorded_losses = 100
    lr_key = "train.lr"

    def __init__(self, total_steps: int) -> None:
        super().__init__()
        self.total_steps = total_steps
        self.last_loss = torch.zeros(())
        self.losses: list[tuple[int, float]] = []

    def record_loss(self, step: int, loss: torch.Tensor) -> None:
        """Record the loss of a step if its turn has come.

        Raises:
            FloatingPointError: it is NaN or infinite.
        """
        self.last_loss = loss
        if step % math.ceil(self.total_steps / self.recorded_losses) == 0:
            self.losses.append((step, float(loss)))
            if not math.isfinite(self.losses[-1][1]):
                raise FloatingPointError(
                    f"the loss is {self.losses[-1][1]} at step {step}: lower {self.lr_key}"
                )

    def load_finished(self, state: Path) -> None:
        """Load the weights and the progress of a finished training."""
        checkpoint = torch.load(state, weights_only=True, map_location=self.device)
        self.load_state_dict(checkpoint["state_dict"], strict=self.strict_loading)
        self.on_load_checkpoint(checkpoint)


class _Batches:
    """The remaining batches with the length of all: Lightning needs both to resume."""

    def __init__(self, remaining: Iterable[Any], total: int) -> None:
        self.remaining, self.total = remaining, total

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[Any]:
        return iter(self.remaining)


def fit(
    module: StepModule,
    batches: Iterable[Any],
    callbacks: Sequence[Callback],
    state: Path | None,
    device: torch.device,
    precision: str,
    **options: Any,
) -> None:
    """Train a module to its last step.

    A KeyboardInterrupt is raised as such and a SIGTERM as an error. Lightning turns both into
    SystemExit, the second with code 0, and disables further Ctrl-C.

    Args:
        module: on `device`.
        batches: of the remaining steps.
        callbacks: Lightning's.
        state: saved by `bench.training.resume.SaveState`; None to start from the beginning.
        device: its type selects Lightning's accelerator.
        precision: Lightning's.
        options: more arguments of Lightning's Trainer.

    Raises:
        Terminated: the process received SIGTERM; the last saved state is kept.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in SILENCED:
        warnings.filterwarnings("ignore", message=message)
    trainer = L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        precision=precision,
        max_steps=module.total_steps,
        max_epochs=-1,
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(
            module, _Batches(batches, module.total_steps), ckpt_path=state, weights_only=True
        )
    except SIGTERMException as error:
        raise Terminated("ended by SIGTERM") from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from error
        raise
