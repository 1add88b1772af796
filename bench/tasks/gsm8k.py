r"""GSM8K: grade-school problems of two to eight steps (Cobbe et al. 2021).

Test: the 1,319 rows of LLM-Adapters' dataset/gsm8k/test.json. Training: the authors' train.jsonl,
`{"question": "...", "answer": "... 48/2 = <<48/2=24>>24 clips ...\n#### 72"}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bench.tasks.task import Row, Task, read_text, training_row

_ANNOTATION = re.compile(r"<<[^<>]*>>")


def train_row(raw: Mapping[str, Any]) -> Row:
    """The rationale without calculator annotations; `#### N` becomes the answer sentence."""
    if "instruction" in raw:
        return training_row(raw)
    rationale, mark, answer = read_text("answer", raw["answer"]).rpartition("####")
    if not mark:
        raise KeyError("#### (the line with the answer)")
    answer = answer.strip()
    return {
        "instruction": read_text("question", raw["question"]).strip(),
        "input": "",
        "output": f"{_ANNOTATION.sub('', rationale).strip()}\nThe answer is {answer}.",
        "answer": answer.replace(",", ""),
    }


TASK = Task(key="gsm8k", label="GSM8K", train_row=train_row)
