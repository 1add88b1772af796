"""The training loop of this project: Lightning's Trainer, silent, with a state of our own."""

from __future__ import annotations

import logging
import math
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from bench.errors import Terminated
from bench.training.resume import SaveState, finished_steps

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


class _Batches:
    """The remaining batches with the length of all: Lightning needs both to resume."""

    def __init__(self, remaining: Iterable[Any], total: int) -> None:
        self.remaining, self.total = remaining, total

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[Any]:
        return iter(self.remaining)


def resolve_precision(name: str, device: torch.device) -> str:
    """The precision that `auto` selects: bf16-mixed on a GPU that supports it.

    On a CPU float32: many emulate bf16, and small models gain little from it.
    """
    if name != "auto":
        return name
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if bf16 else "32-true"


def train_module(
    module: StepModule,
    callbacks: list[Callback],
    save: SaveState | None,
    device: torch.device,
    precision: str,
    batches: Callable[[int], Iterable[Any]] | None = None,
    **options: Any,
) -> None:
    """Train a module to its last step, resuming from a saved state.

    A KeyboardInterrupt is raised as such and a SIGTERM as an error. Lightning turns both into
    SystemExit, the second with code 0, and disables further Ctrl-C.

    Args:
        module: in training mode, on `device`.
        callbacks: Lightning's.
        save: saves the state; None to save none. Called last, so that a state includes what the
            callbacks did at its step.
        device: its type selects Lightning's accelerator.
        precision: Lightning's, or `auto`.
        batches: of the steps from a given one on; default: their numbers.
        options: more arguments of Lightning's Trainer.

    Raises:
        Terminated: the process received SIGTERM; the last saved state is kept.
    """
    total, state = module.total_steps, save.path if save else None
    first = finished_steps(state)
    if state and first == total:  # killed before the result was saved, or trained by ranks
        checkpoint = torch.load(state, weights_only=True, map_location=device)
        module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading)
        module.on_load_checkpoint(checkpoint)
        return
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in SILENCED:
        warnings.filterwarnings("ignore", message=message)
    trainer = L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        precision=resolve_precision(precision, device),
        max_steps=total,
        max_epochs=-1,
        logger=False,
        callbacks=[*callbacks, *([save] if save else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )
    remaining = _Batches(batches(first) if batches else range(first, total), total)
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, remaining, ckpt_path=state if first else None, weights_only=True)
    except SIGTERMException as error:
        raise Terminated("ended by SIGTERM") from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from error
        raise
