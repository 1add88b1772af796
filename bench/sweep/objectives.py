"""What a search may optimise: scores on validation rows, and time; no test score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.config import Experiment
from bench.errors import InputError, unknown
from bench.tracking.record import PRETRAIN

# The natural direction of each objective.
OBJECTIVES = {
    "validation_loss": "minimize",
    "validation_accuracy": "maximize",
    "latency": "minimize",
}
DIRECTIONS = ("minimize", "maximize")


@dataclass(frozen=True)
class Objective:
    """One of `OBJECTIVES` with a direction, `minimize` or `maximize`."""

    name: str
    direction: str

    def value(self, record: Mapping[str, Any]) -> float:
        """The value of a finished run; of pretraining, the validation loss is in bits per byte.

        Raises:
            FloatingPointError: the value is not finite.
            ValueError: it was measured on test documents.
        """
        if self.name == "validation_loss" and record.get("kind") == PRETRAIN:
            if record["split"] != "validation":
                raise ValueError(
                    f"the run was evaluated on {record['split']} documents, which must not be "
                    "used to choose anything: give evaluation.split=validation"
                )
            value = record["training"]["bits_per_byte"]
        elif self.name == "validation_loss":
            training = record["training"]
            value = dict(training["validation"]).get(training["kept_step"], math.nan)
        elif self.name == "validation_accuracy":
            value = record["averages"]["micro"]
        else:
            value = record["seconds"]["evaluate"] / sum(s["n"] for s in record["scores"].values())
        if not math.isfinite(value):
            raise FloatingPointError(f"{self.name} is {value}")
        return float(value)

    def check(self, experiment: Experiment) -> None:
        """Refuse an objective that a run would not have."""
        train = experiment.train
        validated = experiment.trained and train.validated and experiment.data.validation
        if self.name == "validation_loss" and not validated:
            raise InputError(
                "objective validation_loss: there is none if nothing is trained, or with "
                "train.validations=0 or data.validation=0"
            )
        if self.name == "validation_loss" and train.validate_every and train.keep == "last":
            raise InputError(
                "objective validation_loss is the loss of the adapter that is kept, but with "
                "train.keep=last and train.validate_every the last step may not be validated: give "
                "train.validate_every=null, which validates after it, or train.keep=best"
            )
        split = experiment.evaluation.split
        if self.name == "validation_accuracy" and split != "validation":
            raise InputError(
                "objective validation_accuracy: these runs are evaluated on "
                f"{'nothing' if split == 'none' else 'test rows'}; give evaluation.split=validation"
            )
        if self.name == "latency" and split == "none":
            raise InputError("objective latency: with evaluation.split=none nothing is timed")


VALIDATION_LOSS = Objective("validation_loss", "minimize")


def read_objectives(names: str | Sequence[str], directions: Any = None) -> list[Objective]:
    """The objectives of a configuration; the directions may be None, for the natural ones.

    Raises:
        InputError: an unknown name, a test score, or another number of directions.
    """
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    if not names:
        raise InputError("hydra.sweeper.objective is empty: give validation_loss, for example")
    for name in names:
        if name not in OBJECTIVES and name.startswith("validation"):
            raise unknown("objective", name, OBJECTIVES)
        if name not in OBJECTIVES:
            raise InputError(
                f"objective '{name}': a search optimises on validation rows, never on a test set, "
                f"which would select the luckiest run. Allowed: {', '.join(OBJECTIVES)}"
            )
    if directions is None:
        directions = [OBJECTIVES[name] for name in names]
    directions = [directions] if isinstance(directions, str) else list(directions)
    for direction in directions:
        if direction not in DIRECTIONS:
            raise unknown("direction", str(direction), DIRECTIONS)
    if len(directions) != len(names):
        raise InputError(f"{len(names)} objectives need as many directions, got {len(directions)}")
    return [Objective(name, way) for name, way in zip(names, directions, strict=True)]
