"""The problems of one run: training, validation and test rows, wherever they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from bench.errors import InputError


@dataclass(frozen=True)
class Problem:
    """One row in LLM-Adapters' form, and the benchmark it belongs to."""

    task: str
    instruction: str
    input: str
    output: str
    answer: str

    @property
    def question(self) -> str:
        """What is asked: the instruction, and below it the input where there is one."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction


@dataclass(frozen=True)
class DataSettings:
    """What to train and test on.

    Attributes:
        source: `synthetic` (made here) or `llm_adapters` (files in LLM-Adapters' layout).
        train: names of training sets; empty where nothing is trained.
        tests: names of benchmarks.
        root: the folder that holds ft-training_set/ and dataset/ (`llm_adapters`).
        hub: in place of `root`, the hub id of a dataset in which these folders lie.
        revision: the commit of that dataset.
        gsm8k: GSM8K's own train.jsonl, for the training set `gsm8k` (`llm_adapters`).
        limit: at most so many rows of each training set and of each test set, from the start of
            the file; None for all.
        keep_overlap: whether training rows that stand in a test set stay; None: as the protocol
            says.
        validation: rows set apart for validation: in all (`llm_adapters`, drawn with seed 42 as
            LLM-Adapters do), or of each family (`synthetic`).
        train_size: problems of each family (`synthetic`).
        test_size: problems of each test set (`synthetic`).
        largest, mawps_steps, svamp_distractors, gsm8k_steps, aqua_steps: how hard the problems
            are (`synthetic`), see bench.data.synthetic.problems.Difficulty.
        seed: of the generator (`synthetic`); a run's own seed never changes the problems.
    """

    source: str
    train: list[str]
    tests: list[str]
    root: str | None = None
    hub: str | None = None
    revision: str | None = None
    gsm8k: str | None = None
    limit: int | None = None
    keep_overlap: bool | None = None
    validation: int = 120
    train_size: int = 160
    test_size: int = 150
    largest: int = 99
    mawps_steps: int = 2
    svamp_distractors: int = 1
    gsm8k_steps: int = 4
    aqua_steps: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.root and self.hub:
            raise InputError(
                f"data.root={self.root} and data.hub={self.hub} are two places: give one of them"
            )
        for name, least in (("limit", 1), ("validation", 0), ("train_size", 1), ("test_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"data.{name} must be at least {least}, got {value}")


@dataclass(frozen=True)
class ProblemSets:
    """All rows of a run, in a fixed order.

    Attributes:
        train: training rows, the validation rows taken out.
        validation: rows that only the validation loss and the choice of settings see.
        tests: test rows by benchmark key.
        files: sha256 of every file that was read, by its name below the root.
        without_output: training rows that were left out because their output is empty.
    """

    train: list[Problem]
    validation: list[Problem]
    tests: dict[str, list[Problem]]
    files: dict[str, str] = field(default_factory=dict)
    without_output: int = 0

    def split(self, name: str) -> dict[str, list[Problem]]:
        """The rows to evaluate on, by benchmark: of `test`, or of `validation`."""
        if name == "test":
            return self.tests
        return by_task(self.validation)

    @property
    def train_hash(self) -> str:
        """sha256 over the training and validation rows."""
        return _hash(self.train + self.validation)

    @property
    def test_hash(self) -> str:
        """sha256 over the test rows."""
        return _hash(problem for rows in self.tests.values() for problem in rows)


def by_task(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    """Problems by the set that they belong to, in the order given."""
    sets: dict[str, list[Problem]] = {}
    for problem in problems:
        sets.setdefault(problem.task, []).append(problem)
    return sets


def _hash(problems: Iterable[Problem]) -> str:
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps(asdict(problem), sort_keys=True).encode())
    return digest.hexdigest()
