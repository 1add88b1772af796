"""Tasks of lm-eval, asked of a pretrained model: behind its pretraining, or at any time later.

They are no part of a run's identity: a model that is there is asked further tasks, or the same with
other numbers of examples, and is not pretrained again for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import extras
from bench.config import EvaluationSettings

KEY = "lm_eval"  # of a record: what came of each task, by name


def left_to_ask(settings: EvaluationSettings, record: Mapping[str, Any]) -> bool:
    """Whether a record lacks a task, or has it asked in another manner."""
    if not settings.lm_eval:
        return False
    there, manner = record.get(KEY, {}), _manner(settings)
    return any(there.get(name, {}).get("asked") != manner for name in settings.lm_eval)


def loaded(settings: EvaluationSettings, run: Path) -> dict[str, Any]:
    """The tasks that are still to be asked, with their rows.

    Args:
        settings: what to ask.
        run: the run's folder.

    Raises:
        InputError: a task's rows can't be had.
    """
    return extras.load(settings, _folder(settings, run)) if settings.lm_eval else {}


def ask(
    settings: EvaluationSettings,
    tasks: Mapping[str, Any],
    model: Any,
    tokenizer: Any,
    run: Path,
    title: str,
) -> dict[str, Any]:
    """Ask what is left; what came of each task is written down before the next begins.

    Args:
        settings: what to ask.
        tasks: of `loaded`.
        model: a causal language model in eval mode.
        tokenizer: its tokenizer.
        run: the run's folder.
        title: what progress is told under.

    Returns:
        For a record: by name what :func:`bench.evaluation.lm_eval_bridge.ask` gives, and `asked`,
        in which manner.
    """
    from bench.evaluation import lm_eval_bridge
    from bench.models.loading import context_length

    folder, limit = _folder(settings, run), settings.lm_eval_limit
    folder.mkdir(exist_ok=True)
    found = lm_eval_bridge.ask(
        *(model, tokenizer, tasks, settings.batch_size, limit, context_length(model), folder), title
    )
    manner = _manner(settings)
    return {name: found[name] | {"asked": manner} for name in settings.lm_eval}


def told(settings: EvaluationSettings, record: Mapping[str, Any]) -> str:
    """What came of the tasks, for a line: `, hellaswag acc 0.257`; empty where none was asked."""
    parts = []
    for name in settings.lm_eval:
        for task, found in record[KEY][name]["tasks"].items():
            parts += [f", {task} {m} {v['value']:.3f}" for m, v in found["metrics"].items()]
    return "".join(parts)


def _manner(settings: EvaluationSettings) -> dict[str, Any]:
    """What a task's figures depend on beside its name and the model."""
    from bench.evaluation.lm_eval_bridge import include_hash

    include = settings.lm_eval_include
    return {
        "fewshot": settings.lm_eval_fewshot,
        "limit": settings.lm_eval_limit,
        "include": None if include is None else include_hash(include),
    }


def _folder(settings: EvaluationSettings, run: Path) -> Path:
    manner = json.dumps(_manner(settings), sort_keys=True)
    return run / f"lm_eval-{hashlib.sha256(manner.encode()).hexdigest()[:8]}"
