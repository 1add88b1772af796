"""Tasks of lm-eval for a pretrained model, evaluated after its pretraining or any time later.

They are no part of a run's identity: a finished model is evaluated on further tasks, or on the same
with other numbers of examples, without being pretrained again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config import EvaluationSettings
from bench.evaluation.lm_eval_bridge import include_hash
from bench.files import digest

KEY = "lm_eval"  # of a record: results by task


def complete(settings: EvaluationSettings, record: Mapping[str, Any]) -> bool:
    """Whether a record has every task under these settings."""
    found, asked = record.get(KEY, {}), conditions(settings)
    return all(found.get(name, {}).get("asked") == asked for name in settings.lm_eval)


def conditions(settings: EvaluationSettings) -> dict[str, Any]:
    """What a task's results depend on besides its name and the model."""
    include = settings.lm_eval_include
    return {
        "fewshot": settings.lm_eval_fewshot,
        "limit": settings.lm_eval_limit,
        "include": None if include is None else include_hash(include),
    }


def results_folder(settings: EvaluationSettings, run: Path) -> Path:
    """The folder of the results under these settings in a run's folder."""
    return run / f"lm_eval-{digest(conditions(settings), 8)}"


def summary(settings: EvaluationSettings, record: Mapping[str, Any]) -> str:
    """The results in a line, e.g. `, hellaswag acc 0.257`; empty without tasks."""
    return "".join(
        f", {task} {metric} {figure['value']:.3f}"
        for name in settings.lm_eval
        for task, found in record[KEY][name]["tasks"].items()
        for metric, figure in found["metrics"].items()
    )
