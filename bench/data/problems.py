"""The problems of a run: training, validation and test rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from bench import tasks
from bench.errors import InputError
from bench.fields import check_values


@dataclass(frozen=True)
class Problem:
    """A row in LLM-Adapters' format, and the key of its benchmark."""

    task: str
    instruction: str
    input: str
    output: str
    answer: str

    @property
    def question(self) -> str:
        """The instruction, followed by the input on its own line if there is one."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction


@dataclass(frozen=True)
class DataSettings:
    """Training and test sets.

    Attributes:
        source: `synthetic` (generated) or `llm_adapters` (files in LLM-Adapters' layout).
        train: names of training sets; may be empty if nothing is trained.
        tests: names of benchmarks.
        root: the folder with ft-training_set/ and dataset/ (`llm_adapters`).
        hub: instead of `root`, the hub id of a dataset with these folders.
        revision: commit of that dataset.
        gsm8k: GSM8K's own train.jsonl, for the training set `gsm8k` (`llm_adapters`).
        steps: whether MAWPS's equations are worked out, an operation per line (`llm_adapters`).
        limit: maximum number of rows of each set, from the start of the file; None for all.
        held_out: number of rows from the end of a training set that are not trained on and are the
            test rows of a set in both `train` and `tests`, or of one without a test file
            (`llm_adapters`); None for none.
        keep_overlap: whether training rows that match test rows stay; None: the protocol's value.
        validation: number of validation rows: in total (`llm_adapters`, drawn as in
            LLM-Adapters' code), or per family (`synthetic`).
        train_size: problems of each family (`synthetic`).
        test_size: problems of each test set (`synthetic`).
        largest, mawps_steps, svamp_distractors, gsm8k_steps, aqua_steps: see
            bench.data.synthetic.problems.Difficulty (`synthetic`).
        seed: seed of the generator (`synthetic`), independent of the run's seed.
    """

    source: str
    train: list[str]
    tests: list[str]
    root: str | None = None
    hub: str | None = None
    revision: str | None = None
    gsm8k: str | None = None
    steps: bool = False
    limit: int | None = None
    held_out: int | None = None
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
                f"data.root={self.root} and data.hub={self.hub} exclude each other: give one"
            )
        sizes = ("limit", "held_out", "train_size", "test_size")
        check_values("data", self, least=dict.fromkeys(sizes, 1) | {"validation": 0})


@dataclass(frozen=True)
class ProblemSets:
    """All rows of a run, in a fixed order.

    Attributes:
        train: training rows without the validation rows.
        validation: rows for the validation loss and the selection of settings.
        tests: test rows by benchmark key.
        files: sha256 of every file that was read, by its name below the root.
        without_output: number of training rows that were dropped because their output is empty.
    """

    train: list[Problem]
    validation: list[Problem]
    tests: dict[str, list[Problem]]
    files: dict[str, str] = field(default_factory=dict)
    without_output: int = 0

    def split(self, name: str) -> dict[str, list[Problem]]:
        """The rows to evaluate on, by benchmark: of `test`, `validation` or `none`.

        Raises:
            InputError: a row has no answer that a prediction can be compared with, or there is no
                validation row.
        """
        if name == "none":
            return {}
        if name == "validation" and not self.validation:
            raise InputError(
                "evaluation.split=validation: there is no validation row; those that match test "
                "rows are left out: give more (data.validation), or data.keep_overlap=true"
            )
        found = self.tests if name == "test" else by_task(self.validation)
        for key, problems in found.items():
            for row, p in enumerate(problems):
                if not tasks.describe(key, p.answer).accepts(p.answer):
                    raise InputError(
                        f"predictions are compared with the rows' answers, but {name} row {row} of "
                        f"{key} ({p.instruction!r:.60}) has the answer {p.answer!r}: correct it in "
                        "its file, or give evaluation.split=none"
                    )
        return found

    @property
    def train_hash(self) -> str:
        """sha256 over the training rows and over the validation rows."""
        return _digest([_hash(self.train), _hash(self.validation)])

    @property
    def test_hash(self) -> str:
        """sha256 over the test rows, whatever the order of the benchmarks."""
        return _digest([key, _hash(rows)] for key, rows in sorted(self.tests.items()))


def by_task(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    """Problems by benchmark, in the given order."""
    sets: dict[str, list[Problem]] = {}
    for problem in problems:
        sets.setdefault(problem.task, []).append(problem)
    return sets


def _hash(problems: Iterable[Problem]) -> str:
    return _digest(map(asdict, problems))


def _digest(values: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, sort_keys=True).encode())
    return digest.hexdigest()
