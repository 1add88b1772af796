"""predictions.jsonl: one line per test row, appended during evaluation and read on resuming."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Prediction:
    """The result of one test row.

    Attributes:
        index: position in the test set of the benchmark `task`.
        prediction: the number, letter or choice extracted from the text, None if there is none.
        answer: the gold answer as in the file.
        correct: whether they agree.
        formatted: whether the text contains the answer sentence.
        tokens: number of generated tokens.
        reason: why nothing was generated (a prompt too long for the context), else None.
        seconds: generation time: the row's share of its batch's wall time.
        question: the problem without the prompt around it.
        nll: mean negative log-likelihood of the reference answer in nats per token, see
            `bench.evaluation.likelihood`; None if it has none. Rounding depends on the batch.
    """

    task: str
    index: int
    text: str
    prediction: float | str | None
    answer: str
    correct: bool
    formatted: bool
    tokens: int
    reason: str | None = None
    seconds: float = field(default=0.0, compare=False)
    question: str = ""
    nll: float | None = field(default=None, compare=False)


def read(path: Path) -> list[Prediction]:
    """Read predictions; an incomplete last line is dropped, also from the file."""
    if not path.is_file():
        return []
    complete, predictions = 0, []
    with path.open("rb") as stream:
        for line in stream:
            try:
                if not line.endswith(b"\n"):
                    break
                predictions.append(Prediction(**json.loads(line)))
            except (ValueError, TypeError, RecursionError):
                break
            complete += len(line)
    if complete < path.stat().st_size:
        os.truncate(path, complete)
    return predictions


def append(path: Path, predictions: Iterable[Prediction]) -> None:
    """Append lines and sync them to disk, so that a kill loses at most one batch."""
    with path.open("a", encoding="utf-8") as stream:
        for prediction in predictions:
            stream.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
