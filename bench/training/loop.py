"""The training loop: Lightning's Trainer, silent, in this process or in one per device."""

from __future__ import annotations

import logging
import math
import signal
import tempfile
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException

from bench.data.batches import ROWS
from bench.errors import Terminated
from bench.memory import Result, halving
from bench.models.loading import pick_device, weight_dtype
from bench.progress import Progress
from bench.training.ranks import Watch, run_ranks
from bench.training.strategies import ManualDDP

SILENCED = (
    ".*does not have many workers.*",
    ".*treespec.*",
    ".*Checkpoint directory .* exists.*",
    ".*your dataloader is not resumable.*",  # ours starts at the right step
    ".*max_epochs. was not set.*",
    ".*in eval mode at the start of training.*",
)
_log = logging.getLogger(__name__)


class StepModule(L.LightningModule):
    """A Lightning module whose batches are optimiser step numbers.

    Args:
        model: on the device to train on, or sharded.
        settings: with `devices`, `sharded` (not all weights are on every device), `precision`,
            `gradient_clip` and `checkpoint_minutes`.
        at_once: rows (or what `unit` says) in a forward pass; reduced when memory is short.

    Attributes:
        losses: (step, counted from 0, loss) at up to `recorded_losses` steps.
        seconds: wall time of all steps, without measurements, including those before a resume.
        strategy: how several ranks share the training.
        watch: called with the results of `measure`, by subclasses that have any.
        unit: what `at_once` counts.
        least: from this value of `at_once` on, a forward pass has one row.
    """

    recorded_losses = 100
    lr_key = "train.lr"
    unit, least = ROWS, 1
    less_memory = ""  # what to do if not even a single row fits
    saved = ("losses", "seconds")  # attributes in the state from which a training resumes

    def __init__(
        self, model: Any, settings: Any, total_steps: int, at_once: int, title: str
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.settings, self.title = model, settings, title
        self.total_steps, self.at_once, self.asked = total_steps, at_once, at_once
        self.last_loss = torch.zeros(())
        self.losses: list[tuple[int, float]] = []
        self.seconds, self.started = 0.0, time.perf_counter()
        self.strategy: type[ManualDDP] = ManualDDP
        self.watch: Watch | None = None

    @property
    def mixed(self) -> bool:
        """Whether forward passes run under autocast."""
        return resolve_precision(self.settings.precision, pick_device()).endswith("-mixed")

    @abstractmethod
    def gradients(self, step: int) -> torch.Tensor:
        """Accumulate the gradients of this rank's rows of a step; their part of its loss, ()."""

    def backward_of(self, loss: torch.Tensor) -> None:
        """Accumulate the gradients of a loss.

        Lightning runs a step under autocast, which is meant for forward passes: in the backward
        pass it would also round what was computed in full precision.
        """
        with torch.autocast(self.device.type, enabled=False):
            self.manual_backward(loss)

    def measures(self, step: int) -> bool:
        """Whether `measure` is due after a step, counted from 1."""
        return False

    def measure(self, step: int) -> None:
        """Measure what is due after a step, counted from 1."""

    def context(self) -> AbstractContextManager[None]:
        """Entered for the whole training."""
        return nullcontext()

    def training_step(self, step: int, index: int) -> torch.Tensor:
        def gradients(most: int) -> torch.Tensor:
            self.zero_grad()  # of an attempt that ran out of memory
            self.at_once = most
            return self.gradients(step)

        loss = self.halving(gradients, self.at_once, self.title, self.unit, self.least)
        if self.settings.devices > 1:
            strategy: Any = self.trainer.strategy
            strategy.reduce_step(self.parameters(), loss)
        if self.settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.gradient_clip)
        first, *others = _listed(self.optimizers())
        first.step()
        for optimizer in others:
            optimizer.optimizer.step()  # not Lightning's wrapper, which would count another step
        self.zero_grad()
        for schedule in _listed(self.lr_schedulers()):
            schedule.step()
        self.last_loss = loss
        if step % math.ceil(self.total_steps / self.recorded_losses) == 0:
            self.losses.append((step, float(loss)))
            if not math.isfinite(self.losses[-1][1]):
                raise FloatingPointError(
                    f"the loss is {self.losses[-1][1]} at step {step + 1}: lower {self.lr_key}"
                )
        return loss

    def halving(
        self,
        work: Callable[[int], Result],
        most: int,
        title: str,
        unit: str = ROWS,
        least: int = 1,
    ) -> Result:
        """`bench.memory.halving`, unless weights are sharded: all ranks make the same passes."""
        if self.settings.sharded:
            return work(most)
        return halving(work, most, title, self.less_memory, unit, least)

    def tick(self) -> None:
        """Add the time since the last call."""
        now = time.perf_counter()
        self.seconds, self.started = self.seconds + now - self.started, now

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["progress"] = {name: getattr(self, name) for name in self.saved}
        # Only if memory has lowered it: the setting itself may change before a resume.
        lowered = self.at_once < self.asked
        checkpoint["fits"] = self.at_once if lowered else None
        checkpoint["unit"] = self.unit

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, value in checkpoint["progress"].items():
            setattr(self, name, value)
        if checkpoint["fits"] and checkpoint.get("unit", ROWS) == self.unit:
            self.at_once = min(checkpoint["fits"], self.asked)

    def cpu(self) -> StepModule:
        # Lightning moves the module to the CPU at the end, which would copy weights that
        # other runs share.
        return self


def _listed(found: Any) -> list[Any]:
    """Lightning returns a single one by itself, and several as a list."""
    return list(found) if isinstance(found, list) else [found]


class _AfterStep(Callback):
    """Shows the progress, measures, and saves the state at intervals and at the end, atomically.

    Not Lightning's validation loop, whose counters do not survive a resume within an epoch, nor
    its ModelCheckpoint, which ignores its time interval under manual optimisation.
    """

    def __init__(self, state: Path | None, minutes: float) -> None:
        self.state, self.interval = state, 60.0 * minutes
        self.progress: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, module: StepModule) -> None:
        first = module.global_step
        self.progress = Progress(module.title, module.total_steps, "step", start=first)
        self.saved = module.started = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, module: StepModule, *_: Any) -> None:
        self.progress.update(1, loss=module.last_loss)
        if module.measures(module.global_step):
            if module.device.type == "cuda":
                torch.cuda.synchronize()  # else the measurement would wait for pending steps
            module.tick()
            with trainer.precision_plugin.forward_context():
                module.measure(module.global_step)
            module.started = time.perf_counter()
        module.tick()
        if self.state:
            due = time.perf_counter() - self.saved >= self.interval
            # Saving is collective and the ranks' clocks differ.
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
            if due or module.global_step == module.total_steps:
                partial = self.state.with_suffix(".partial")
                try:
                    trainer.save_checkpoint(partial)
                    if trainer.is_global_zero:
                        partial.replace(self.state)
                finally:
                    if trainer.is_global_zero:
                        partial.unlink(missing_ok=True)  # incomplete when the disk is full
                self.saved = module.started = time.perf_counter()

    def teardown(self, trainer: L.Trainer, module: StepModule, stage: str) -> None:
        if self.progress is not None:
            self.progress.close()


class _Remaining:
    """The remaining steps, and the number of all steps: Lightning needs both to resume."""

    def __init__(self, first: int, total: int) -> None:
        self.first, self.total = first, total

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.total))


def resolve_precision(name: str, device: torch.device) -> str:
    """The precision that `auto` selects: bf16-mixed where weights are bfloat16 by default.

    On a CPU float32: many emulate bf16, and small models gain little from it.
    """
    if name != "auto":
        return name
    return "bf16-mixed" if weight_dtype("auto", device) == torch.bfloat16 else "32-true"


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


def train(
    build: Callable[[Any], StepModule],
    model: Any,
    device: torch.device,
    state: Path | None = None,
    load: Callable[[torch.device], Any] | None = None,
    watch: Watch | None = None,
) -> StepModule:
    """Train a model to its last step, in this process or in one rank per device.

    Args:
        build: creates the module for a model.
        model: trained in place and left in eval mode.
        device: its type is that of all devices.
        state: where the state is saved; an existing one is resumed.
        load: creates the model of a rank, on its device or sharded. Like `build` it is pickled.
        watch: the module's, in this process; an exception that it raises ends the training.

    Raises:
        Failure: a forward and backward pass of a single row does not fit in memory, or a rank
            died.
        FloatingPointError: the loss is NaN or infinite.
        Terminated: the process received SIGTERM; the last saved state is kept.
    """
    module = build(model)
    module.watch, devices = watch, module.settings.devices
    with tempfile.TemporaryDirectory() as folder:
        if devices > 1:
            # The result of the ranks returns through the saved state.
            state = (state or Path(folder) / "last.ckpt").absolute()
            if finished_steps(state) < module.total_steps:
                torch.cuda.empty_cache()  # for the ranks, which share the devices
                run_ranks(partial(_train_rank, build, load, state), devices, device.type, watch)
        _fit(module, device, state)
    return module


def _train_rank(
    build: Any, load: Any, state: Path, device: torch.device, watch: Watch | None
) -> None:
    module = build(load(device))
    module.watch = watch
    strategy = module.strategy(cluster_environment=LightningEnvironment())
    _fit(module, device, state, strategy)


def _fit(
    module: StepModule, device: torch.device, state: Path | None, strategy: Any = "auto"
) -> None:
    """Train in one process: alone, or as one rank of several.

    A KeyboardInterrupt is raised as such and a SIGTERM as an error. Lightning turns both into
    SystemExit, the second with code 0, and disables further Ctrl-C.
    """
    settings, first = module.settings, finished_steps(state)
    if first == module.total_steps:  # killed before the result was saved, or trained by ranks
        checkpoint = torch.load(state, weights_only=True, map_location="cpu")
        module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading)
        module.on_load_checkpoint(checkpoint)
        module.eval()
        return
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in SILENCED:
        warnings.filterwarnings("ignore", message=message)
    trainer = L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=settings.devices,
        strategy=strategy,
        precision=resolve_precision(settings.precision, device),
        max_steps=module.total_steps,
        max_epochs=-1,
        logger=False,
        callbacks=[_AfterStep(state, settings.checkpoint_minutes)],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    remaining = _Remaining(first, module.total_steps)
    handler = signal.getsignal(signal.SIGINT)
    module.train()
    try:
        with module.context():
            trainer.fit(module, remaining, ckpt_path=state if first else None, weights_only=True)
    except SIGTERMException as error:
        raise Terminated("ended by SIGTERM") from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from error
        raise
    module.eval()
