"""Settings and inputs of an embedding study."""

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
    """How much is measured; conf/action/embeddings.yaml describes each setting."""

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
            if (value := getattr(self, name)) < least:
                raise InputError(f"action.{name} must be at least {least}, got {value}")


@dataclass(frozen=True)
class Sources:
    """The texts of a study: rows whose tokens are counted, by set, and rows that serve as prompts.

    `pretraining` has documents that the base was pretrained on, if known.
    """

    name: str
    counted: Mapping[str, Sequence[Problem]]
    tests: Mapping[str, Sequence[Problem]]
    pretraining: Sequence[str] | None
