"""What an embedding study reads, and how much of it it measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.data.problems import Problem
from bench.errors import InputError, unknown

ROWS = ("tests", "train")
LEAST = {
    "prompts": 1,
    "longest": 4,  # any three points are a tree
    "points": 10,
    "samples": 1,
    "replicas": 100,
    "power_replicas": 0,
    "words": 1,
    "seed": 0,
}


@dataclass(frozen=True)
class StudySettings:
    """How much is measured.

    Attributes:
        rows: one of ROWS: whose texts are counted.
        prompts: at most so many of each test set, from its start.
        longest: prompts of more tokens are left out: delta of all base points takes n^4 steps.
        points: of each reference space.
        samples: reference spaces drawn of each kind.
        replicas: of each bootstrap interval.
        power_replicas: of the bootstrap behind the p-value of a power law.
        words: in the disk, at most.
        seed: of all that is drawn.
        adapters: folders of saved adapters, in place of those that the tracking store has.
    """

    rows: str = "tests"
    prompts: int = 50
    longest: int = 256
    points: int = 100
    samples: int = 10
    replicas: int = 1000
    power_replicas: int = 100
    words: int = 300
    seed: int = 0
    adapters: list[str] | None = None

    def __post_init__(self) -> None:
        if self.rows not in ROWS:
            raise unknown("action.rows", self.rows, ROWS)
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise InputError(
                    f"action.{name} must be at least {least}, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Sources:
    """What is read.

    Attributes:
        name: of the data, for the report.
        counted: rows whose texts are counted, by set.
        tests: rows that are prompts, by test set.
        pretraining: documents of the text that the base was pretrained on; None where unknown.
    """

    name: str
    counted: Mapping[str, Sequence[Problem]]
    tests: Mapping[str, Sequence[Problem]]
    pretraining: Sequence[str] | None
