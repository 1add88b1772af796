"""predictions.jsonl: one line for each test row, written as it is made, read back on a resume."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Prediction:
    """What came of one test row.

    Attributes:
        task: key of the benchmark.
        index: of the row in its test set.
        text: what the model wrote; empty where it was not asked.
        prediction: the number, letter or choice read from the text, None where none was found.
        answer: the gold answer as the file has it.
        correct: whether they agree.
        formatted: whether the text has the answer's sentence.
        tokens: how many tokens were generated.
        reason: why the model was not asked (a prompt too long for its context), else None.
        seconds: of generation: the row's share of its batch's wall time.
        question: what was asked, without the prompt around it; empty in a file of an older version.
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


def read(path: Path) -> list[Prediction]:
    """The predictions in a file; a last line that a kill cut short is dropped, also on disk."""
    if not path.is_file():
        return []
    whole, predictions = 0, []
    with path.open("rb") as stream:
        for line in stream:
            try:
                if not line.endswith(b"\n"):
                    break
                predictions.append(Prediction(**json.loads(line)))
            except (json.JSONDecodeError, UnicodeDecodeError, TypeError):
                break
            whole += len(line)
    if whole < path.stat().st_size:
        os.truncate(path, whole)
    return predictions


def append(path: Path, predictions: Iterable[Prediction]) -> None:
    """Add lines and see them to the disk, so that a kill loses at most the batch at work."""
    with path.open("a", encoding="utf-8") as stream:
        for prediction in predictions:
            stream.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
