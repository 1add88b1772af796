"""What a run measures beside its test sets, where it is asked to: lm-eval's tasks, forgetting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.config import EvaluationSettings, Experiment

KEYS = ("lm_eval", "forgetting")  # of the record; absent where they are not asked for


def check(asked: EvaluationSettings) -> None:
    """Refuse, before a model is loaded, tasks that lm-eval does not know.

    Raises:
        InputError: there are such, or lm-eval is not installed.
    """
    from bench.evaluation.lm_eval_bridge import check_tasks

    check_tasks(asked.lm_eval, asked.lm_eval_include)


def content_hashes(experiment: Experiment) -> dict[str, str]:
    """Hashes of the files that the results depend on; none where nothing is asked for.

    Raises:
        InputError: the general text can't be read.
    """
    from bench.evaluation.forgetting import text_hash
    from bench.evaluation.lm_eval_bridge import include_hash

    asked = experiment.evaluation
    hashes = {}
    if asked.lm_eval and asked.lm_eval_include is not None:
        hashes["lm_eval_include"] = include_hash(asked.lm_eval_include)
    if asked.forgetting is not None:
        hashes["forgetting"] = text_hash(_general(experiment, asked.forgetting))
    return hashes


def load(asked: EvaluationSettings, folder: Path) -> dict[str, Any]:
    """lm-eval's tasks with their rows: had before anything is trained, so that a missing file ends
    a run at its beginning and not after hours.

    Args:
        asked: the run's settings.
        folder: where results are kept; what it has results of is not loaded.

    Raises:
        InputError: a task's rows can't be had.
    """
    from bench.evaluation.lm_eval_bridge import load_tasks

    return load_tasks(asked.lm_eval, asked.lm_eval_include, asked.lm_eval_fewshot, folder)


def measure(
    experiment: Experiment,
    base_hash: str,
    folder: Path,
    model: Any,
    tokenizer: Any,
    tasks: dict[str, Any],
) -> dict[str, Any]:
    """What was asked for, under the names that the record has for it.

    Args:
        experiment: the run.
        base_hash: of the base's files.
        folder: of the run; what it has is not measured again.
        model: the base with its adapter.
        tokenizer: of both.
        tasks: of `load`.
    """
    found = {}
    if experiment.evaluation.lm_eval:
        found["lm_eval"] = _lm_eval(experiment, folder, model, tokenizer, tasks)
    if experiment.evaluation.forgetting is not None:
        found["forgetting"] = _forgetting(experiment, base_hash, folder, model, tokenizer)
    return found


def _lm_eval(
    experiment: Experiment, folder: Path, model: Any, tokenizer: Any, tasks: dict[str, Any]
) -> dict[str, Any]:
    from bench.evaluation.lm_eval_bridge import ask
    from bench.models.loading import context_length

    return ask(
        model,
        tokenizer,
        tasks,
        experiment.evaluation.batch_size,
        experiment.evaluation.lm_eval_limit,
        context_length(model),
        folder,
        title=experiment.name,
    )


def _forgetting(
    experiment: Experiment, base_hash: str, folder: Path, model: Any, tokenizer: Any
) -> dict[str, Any]:
    from bench.evaluation.forgetting import forgetting
    from bench.models.loading import context_length, pick_device
    from bench.models.shared import shared_base

    base = model
    if experiment.trained or experiment.adapter:
        # Not the adapter switched off: some of peft's initialisations write into the base.
        base = shared_base(experiment.model, base_hash, pick_device())[0]
    return forgetting(
        base,
        model,
        tokenizer,
        _general(experiment, str(experiment.evaluation.forgetting)),
        experiment.evaluation.batch_size,
        context_length(model),
        folder,
    )


def _general(experiment: Experiment, name: str) -> list[str]:
    from bench.data.general import general_documents

    return general_documents(name, tiny=experiment.model.path == "embedded")
