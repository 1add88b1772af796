"""What a search may optimise: scores on validation rows, and time; no test score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.config import Experiment
from bench.errors import InputError, unknown

DIRECTIONS = ("minimize", "maximize")


@dataclass(frozen=True)
class Objective:
    """A number of a record.

    Attributes:
        name: a key of `FIGURES`.
        direction: `minimize` or `maximize`.
    """

    name: str
    direction: str

    def value(self, record: Mapping[str, Any]) -> float:
        """The value of a finished run.

        Raises:
            ValueError: it is not finite.
        """
        value = float(FIGURES[self.name](record))
        if not math.isfinite(value):
            raise ValueError(f"{self.name} is {value}")
        return value


def _validation_loss(record: Mapping[str, Any]) -> float:
    training = record["training"]
    return dict(training["validation"])[training["kept_step"]]


def _validation_accuracy(record: Mapping[str, Any]) -> float:
    return record["averages"]["micro"]


def _latency(record: Mapping[str, Any]) -> float:
    return record["seconds"]["evaluate"] / sum(s["n"] for s in record["scores"].values())


FIGURES: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "validation_loss": _validation_loss,
    "validation_accuracy": _validation_accuracy,
    "latency": _latency,
}
NATURAL = {"validation_loss": "minimize", "validation_accuracy": "maximize", "latency": "minimize"}


def read_objectives(names: str | Sequence[str], directions: Any) -> list[Objective]:
    """The objectives of a configuration.

    Args:
        names: one or several, of `FIGURES`.
        directions: as many, `minimize` or `maximize`; None for the natural ones.

    Raises:
        InputError: an unknown name, a test score, or another number of directions.
    """
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    if not names:
        raise InputError("hydra.sweeper.objective is empty: give validation_loss, for example")
    for name in names:
        if name in FIGURES:
            continue
        if name.startswith("validation"):
            raise unknown("objective", name, FIGURES)
        raise InputError(
            f"objective '{name}': a search optimises on validation rows, never on a test set, "
            f"which would select the luckiest run. Allowed: {', '.join(FIGURES)}"
        )
    if directions is None:
        directions = [NATURAL[name] for name in names]
    directions = [directions] if isinstance(directions, str) else list(directions)
    for direction in directions:
        if direction not in DIRECTIONS:
            raise unknown("direction", str(direction), DIRECTIONS)
    if len(directions) != len(names):
        raise InputError(f"{len(names)} objectives need as many directions, got {len(directions)}")
    return [Objective(name, way) for name, way in zip(names, directions, strict=True)]


def check_objectives(objectives: Sequence[Objective], experiment: Experiment) -> None:
    """Refuse objectives that a run would not have.

    Raises:
        InputError: which, and what to give instead.
    """
    for objective in objectives:
        if objective.name == "validation_loss" and not (
            experiment.trained and experiment.train.validated and experiment.data.validation
        ):
            raise InputError(
                "objective validation_loss: there is none if nothing is trained, or with "
                "train.validations=0 or data.validation=0"
            )
        if objective.name == "validation_accuracy" and experiment.evaluation.split == "test":
            raise InputError(
                "objective validation_accuracy: these runs are evaluated on test rows; give "
                "evaluation.split=validation"
            )
