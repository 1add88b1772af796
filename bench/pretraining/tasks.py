"""Tasks of lm-eval for a pretrained model, evaluated after its pretraining or any time later.

They are no part of a run's identity: a finished model is evaluated on further tasks, or on the same
with other numbers of examples, without being pretrained again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config import EvaluationSettings
from bench.evaluation.lm_eval_bridge import include_hash
from bench.runs import auxiliary

KEY = "lm_eval"  # of a record: results by task


def complete(settings: EvaluationSettings, record: Mapping[str, Any]) -> bool:
    """Whether a record has every task under these settings."""
    found, conditions = record.get(KEY, {}), _conditions(settings)
    return all(found.get(name, {}).get("asked") == conditions for name in settings.lm_eval)


def load(settings: EvaluationSettings, run: Path) -> dict[str, Any]:
    """The tasks that a run's folder has no results of, with their rows.

    Raises:
        InputError: a task's rows can't be loaded.
    """
    return auxiliary.load_tasks(settings, _folder(settings, run))


def evaluate(
    settings: EvaluationSettings,
    tasks: dict[str, Any],
    run: Path,
    model: Any,
    tokenizer: Any,
    title: str,
) -> dict[str, Any]:
    """Evaluate what is missing; each task's results are written before the next begins.

    Args:
        settings: the tasks and their numbers of examples and rows.
        tasks: of `load`.
        run: the run's folder.
        model: a causal language model in eval mode.
        tokenizer: its tokenizer.
        title: of the progress.

    Returns:
        By task the results of :func:`bench.evaluation.lm_eval_bridge.ask`, with `asked`: the
        settings that they depend on. Empty without tasks.
    """
    if not settings.lm_eval:
        return {}
    folder, conditions = _folder(settings, run), _conditions(settings)
    folder.mkdir(exist_ok=True)
    found = auxiliary.evaluate_tasks(settings, tasks, folder, model, tokenizer, title)
    return {name: found[name] | {"asked": conditions} for name in settings.lm_eval}


def summary(settings: EvaluationSettings, record: Mapping[str, Any]) -> str:
    """The results in a line, e.g. `, hellaswag acc 0.257`; empty without tasks."""
    return "".join(
        f", {task} {metric} {figure['value']:.3f}"
        for name in settings.lm_eval
        for task, found in record[KEY][name]["tasks"].items()
        for metric, figure in found["metrics"].items()
    )


def _conditions(settings: EvaluationSettings) -> dict[str, Any]:
    """What a task's results depend on besides its name and the model."""
    include = settings.lm_eval_include
    return {
        "fewshot": settings.lm_eval_fewshot,
        "limit": settings.lm_eval_limit,
        "include": None if include is None else include_hash(include),
    }


def _folder(settings: EvaluationSettings, run: Path) -> Path:
    conditions = json.dumps(_conditions(settings), sort_keys=True)
    return run / f"lm_eval-{hashlib.sha256(conditions.encode()).hexdigest()[:8]}"
