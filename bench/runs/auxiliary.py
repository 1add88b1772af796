"""Auxiliary evaluations of a model, if asked for: tasks of lm-eval, and forgetting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.config import EvaluationSettings, Experiment

KEYS = ("lm_eval", "forgetting")  # of the record; absent if not asked for


def check_tasks(settings: EvaluationSettings) -> None:
    """Refuse, before a model is loaded, tasks that lm-eval does not know.

    Raises:
        InputError: there is one, or lm-eval is not installed.
    """
    from bench.evaluation.lm_eval_bridge import check_tasks

    check_tasks(settings.lm_eval, settings.lm_eval_include)


def load_tasks(settings: EvaluationSettings, folder: Path) -> dict[str, Any]:
    """The tasks that a folder has no results of, with their rows.

    Loaded before the training: a missing file must not end a run after hours.

    Raises:
        InputError: a task's rows can't be loaded.
    """
    from bench.evaluation.lm_eval_bridge import load_tasks

    settings_of_tasks = (settings.lm_eval, settings.lm_eval_include, settings.lm_eval_fewshot)
    return load_tasks(*settings_of_tasks, folder)


def evaluate_tasks(
    settings: EvaluationSettings,
    tasks: dict[str, Any],
    model: Any,
    tokenizer: Any,
    folder: Path,
    title: str,
) -> dict[str, Any]:
    """Evaluate the tasks of `load_tasks`; returns :func:`bench.evaluation.lm_eval_bridge.ask`'s."""
    from bench.evaluation.lm_eval_bridge import ask
    from bench.models.loading import context_length

    batch_size, limit = settings.batch_size, settings.lm_eval_limit
    return ask(
        model, tokenizer, tasks, batch_size, limit, context_length(model), folder, title=title
    )


def content_hashes(experiment: Experiment) -> dict[str, str]:
    """Hashes of the files that the results depend on; empty if nothing is asked for.

    Raises:
        InputError: the general text can't be read.
    """
    from bench.evaluation.forgetting import text_hash
    from bench.evaluation.lm_eval_bridge import include_hash

    settings = experiment.evaluation
    hashes = {}
    if settings.lm_eval and settings.lm_eval_include is not None:
        hashes["lm_eval_include"] = include_hash(settings.lm_eval_include)
    if settings.forgetting is not None:
        hashes["forgetting"] = text_hash(_general_text(experiment))
    return hashes


def evaluate(
    experiment: Experiment,
    base_hash: str,
    folder: Path,
    model: Any,
    tokenizer: Any,
    tasks: dict[str, Any],
) -> dict[str, Any]:
    """All that is asked for, by KEYS.

    Args:
        experiment: the run.
        base_hash: of the base's files.
        folder: of the run; results found there are not computed again.
        model: the base with its adapter.
        tokenizer: the base's.
        tasks: of `load_tasks`.
    """
    found = {}
    settings = experiment.evaluation
    if settings.lm_eval:
        found["lm_eval"] = evaluate_tasks(
            settings, tasks, model, tokenizer, folder, experiment.name
        )
    if settings.forgetting is not None:
        found["forgetting"] = _forgetting(experiment, base_hash, folder, model, tokenizer)
    return found


def _forgetting(
    experiment: Experiment, base_hash: str, folder: Path, model: Any, tokenizer: Any
) -> dict[str, Any]:
    from bench.evaluation.forgetting import forgetting
    from bench.models.loading import context_length, pick_device
    from bench.models.shared import shared_base

    base = model
    if experiment.trained or experiment.adapter:
        # Disabling the adapter is not enough: some of peft's initialisations change the base.
        base = shared_base(experiment.model, base_hash, pick_device())[0]
    text, batch_size = _general_text(experiment), experiment.evaluation.batch_size
    return forgetting(base, model, tokenizer, text, batch_size, context_length(model), folder)


def _general_text(experiment: Experiment) -> list[str]:
    from bench.data.general import general_documents

    name = str(experiment.evaluation.forgetting)
    return general_documents(name, tiny=experiment.model.path == "embedded")
