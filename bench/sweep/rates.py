"""Tuned learning rates, as `action=tune` writes them and a sweep reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.config import PROJECT
from bench.errors import InputError
from bench.report.records import Record, tuning_key

FOLDER = "tuning"
COMMITTED = PROJECT / "results" / FOLDER


@dataclass(frozen=True)
class Try:
    """One setting of a row.

    Attributes:
        settings: by key, the learning rate first, then what else is tuned.
        losses: validation loss at the end of training by seed; None if it diverged.
        identities: identities of the runs, by seed.
    """

    settings: Mapping[str, Any]
    losses: tuple[float | None, ...]
    identities: tuple[str, ...]

    @property
    def rate(self) -> float:
        """The learning rate."""
        return float(next(iter(self.settings.values())))

    @property
    def loss(self) -> float:
        """Mean over the seeds; infinite if a run diverged."""
        found = [math.inf if loss is None else loss for loss in self.losses]
        return sum(found) / len(found)


@dataclass(frozen=True)
class TunedRow:
    """The tries of a row of a sweep's table.

    Attributes:
        key: digest of what its tries share, see `bench.report.records.tuning_key`.
        label: what the table calls it.
        tries: sorted by learning rate.
    """

    key: str
    label: str
    tries: tuple[Try, ...]

    @property
    def best(self) -> Try:
        """The try with the lowest loss, the first of equals."""
        return min(self.tries, key=lambda tried: tried.loss)

    @property
    def edge(self) -> int:
        """-1 if the best learning rate is the lowest tried, 1 if it is the highest, else 0."""
        rates = sorted({tried.rate for tried in self.tries})
        best = self.best.rate
        return 1 if best == rates[-1] else -1 if best == rates[0] else 0


@dataclass(frozen=True)
class Tuning:
    """The content of `<table>.json`: how the rows of a sweep were tuned, in the table's order."""

    sweep: str
    seeds: tuple[int, ...]
    keys: tuple[str, ...]
    rows: tuple[TunedRow, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """As plain data, with what was chosen for each row."""
        content = asdict(self)
        for row, plain in zip(self.rows, content["rows"], strict=True):
            plain["chosen"] = {**row.best.settings}
            plain["interior"] = row.edge == 0
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Tuning:
        """The inverse of `to_json`; raises KeyError or TypeError for other content."""
        rows = []
        for row in content["rows"]:
            tries = tuple(
                Try(t["settings"], tuple(t["losses"]), tuple(t["identities"])) for t in row["tries"]
            )
            rows.append(TunedRow(row["key"], row["label"], tries))
        return cls(content["sweep"], tuple(content["seeds"]), tuple(content["keys"]), tuple(rows))


class Rates:
    """All tuned rows that are known.

    Attributes:
        used: names of the files that a setting was taken from.
    """

    def __init__(self, sweep: str, results: Path) -> None:
        """Read the files of a results folder, then the committed ones; the sweep's own first.

        Raises:
            InputError: a file can't be read.
        """
        folders = dict.fromkeys(folder.resolve() for folder in (results / FOLDER, COMMITTED))
        found = [path for folder in folders for path in folder.glob("*.json")]
        paths = sorted(found, key=lambda path: (path.stem != sweep, path.name))
        self.files = [(path, read_tuning(path)) for path in paths]

    def losses(self) -> dict[str, float | None]:
        """The validation loss of each run that was tried, by its identity."""
        tries = [t for _, tuning in self.files for row in tuning.rows for t in row.tries]
        return {i: loss for t in tries for i, loss in zip(t.identities, t.losses, strict=True)}

    def find(self, run: Record) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The settings chosen for a planned run's row, by key, and how, for a table's header."""
        for path, tuning in self.files:
            key = tuning_key(run, tuning.keys)
            for row in tuning.rows:
                if row.key == key:
                    how = {
                        "file": path.stem,
                        "tries": len(row.tries),
                        "seeds": list(tuning.seeds),
                        "interior": row.edge == 0,
                    }
                    return dict(row.best.settings), how
        return None


def read_tuning(path: Path) -> Tuning:
    """The content of a file of `action=tune`; raises InputError for other files."""
    try:
        return Tuning.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} was not written by action=tune ({type(error).__name__}): delete it and tune "
            "again"
        ) from error


def grid(middle: float, count: int) -> list[float]:
    """`count` learning rates of the form 1e-k and 3e-k around the one nearest to `middle`."""
    nearest = round(2 * math.log10(middle))
    return [_rate(nearest + k - count // 2) for k in range(count)]


def next_rate(rates: Sequence[float], side: int) -> float:
    """The next rate above (side 1) or below (-1) those of a grid."""
    end = max(rates) if side > 0 else min(rates)
    return _rate(round(2 * math.log10(end)) + side)


def _rate(half_decades: int) -> float:
    decade, half = divmod(half_decades, 2)
    return float(f"{3 if half else 1}e{decade}")
