"""Progress with the remaining time: a bar on a terminal, otherwise a line at intervals."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from typing import Any


def has_terminal() -> bool:
    """Whether a bar can be drawn: on a terminal, and not from a worker process."""
    return sys.stderr.isatty() and multiprocessing.current_process().name == "MainProcess"


class Progress:
    """A bar, or a line every `seconds` without a terminal.

        with Progress("lora seed 0: fine-tuning", total=250, unit="step") as progress:
            progress.update(1, loss=0.8)

    The workers of a sweep print lines, since they share a terminal. Of the ranks of a training the
    first alone reports. The first unit is not part of the estimated time: it often includes imports
    or other work that is done once.
    """

    def __init__(
        self, title: str, total: int, unit: str, start: int = 0, seconds: float = 10.0
    ) -> None:
        self.title, self.total, self.unit, self.seconds = title, total, unit, seconds
        self.done = start
        self.printed = time.monotonic()
        self.first: tuple[float, int] | None = None  # when the first unit was done, and up to where
        self.bar: Any = None
        self.silent = os.environ.get("LOCAL_RANK", "0") != "0"
        if not self.silent and has_terminal():
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=start, desc=title, unit=unit, leave=False)

    def update(self, amount: int, **values: Any) -> None:
        """Add `amount` to what is done; values such as a loss are read only when they are shown.

        Reading one that a GPU is still computing would block the step.
        """
        self.done += amount
        if self.bar is not None:
            if self.bar.update(amount):
                self.bar.set_postfix({k: f"{float(v):.3f}" for k, v in values.items()})
            return
        now = time.monotonic()
        self.first = self.first or (now, self.done)
        if self.silent or now - self.printed < self.seconds or self.done >= self.total:
            return
        self.printed = now
        shown = "".join(f", {name} {float(value):.3f}" for name, value in values.items())
        then, done = self.first
        if self.done > done:
            pace = (now - then) / (self.done - done)
            shown += f", ETA {duration(pace * (self.total - self.done))}"
        print(f"{self.title}: {self.unit} {self.done}/{self.total}{shown}", flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def duration(seconds: float) -> str:
    """A readable duration: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
