"""Progress with remaining time: a bar at a terminal, a line now and then everywhere else."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from types import TracebackType
from typing import Any


def has_terminal() -> bool:
    """Whether a bar can be drawn: a terminal that no sibling process draws on too."""
    return sys.stderr.isatty() and multiprocessing.current_process().name == "MainProcess"


class Progress:
    """A bar, or a line every `seconds` where there is no terminal for one.

        with Progress("lora seed 0: fine-tuning", total=250, unit="step") as progress:
            progress.update(1, loss=0.8)

    Two workers of a sweep share one screen; a line each keeps what they say apart. Of the ranks
    that share a training the first alone tells: the others are as far.
    """

    def __init__(
        self, title: str, total: int, unit: str, start: int = 0, seconds: float = 10.0
    ) -> None:
        self.title, self.total, self.unit, self.seconds = title, total, unit, seconds
        self.done = self.first = start
        self.began = self.told = time.monotonic()
        self.bar: Any = None
        self.tells = os.environ.get("LOCAL_RANK", "0") == "0"
        if self.tells and has_terminal():
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=start, desc=title, unit=unit, leave=False)

    def update(self, amount: int, **facts: Any) -> None:
        """Say that `amount` more is done; facts (a loss) are read only when they are shown.

        Reading a number that is still being computed on a GPU would make the step wait for it.
        """
        self.done += amount
        if self.bar is not None:
            if self.bar.update(amount):
                self.bar.set_postfix({k: f"{float(v):.3f}" for k, v in facts.items()})
            return
        now = time.monotonic()
        if self.tells and now - self.told >= self.seconds and self.done < self.total:
            self.told = now
            pace = (now - self.began) / max(1, self.done - self.first)
            left = pace * (self.total - self.done)
            told = "".join(f", {name} {float(value):.3f}" for name, value in facts.items())
            print(
                f"{self.title}: {self.done}/{self.total} {self.unit}{told}, {duration(left)} left",
                flush=True,
            )

    def close(self) -> None:
        """Take the bar off the screen."""
        if self.bar is not None:
            self.bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def duration(seconds: float) -> str:
    """Seconds as a person says them: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
