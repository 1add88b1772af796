"""MAWPS: word problems of one or two steps (Koncel-Kedziorski et al. 2016).

Test: the 238 rows of LLM-Adapters' dataset/mawps/test.json; 38 gold answers are not integers.
Training: dataset/mawps/trainset.json, whose rows have an equation instead of a rationale:
`{"original_text": "...", "equation": "X=((22.0-14.0)/4.0)", "ans": 2.0}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.tasks.task import Row, Task, read_text, training_row


def train_row(raw: Mapping[str, Any]) -> Row:
    """The equation as the rationale, followed by the answer sentence."""
    if "instruction" in raw:
        return training_row(raw)
    answer = float(read_text("ans", raw["ans"]))
    shown = str(int(answer)) if answer.is_integer() else str(answer)
    return {
        "instruction": read_text("original_text", raw["original_text"]).strip(),
        "input": "",
        "output": f"{read_text('equation', raw['equation'])}\nThe answer is {shown}.",
        "answer": shown,
    }


TASK = Task(key="mawps", label="MAWPS", train_row=train_row)
