"""Auxiliary evaluations of a model, if asked for: tasks of lm-eval, and forgetting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.config import EvaluationSettings, Experiment
from bench.data.general import general_documents
from bench.evaluation import lm_eval_bridge
from bench.evaluation.forgetting import forgetting, text_hash
from bench.models.loading import context_length, pick_device
from bench.models.shared import shared_base


def content_hashes(experiment: Experiment) -> dict[str, str]:
    """Content hashes of task files and general text that the results depend on.

    Raises:
        InputError: the general text can't be read.
    """
    settings, hashes = experiment.evaluation, {}
    if settings.lm_eval and settings.lm_eval_include is not None:
        hashes["lm_eval_include"] = lm_eval_bridge.include_hash(settings.lm_eval_include)
    if settings.forgetting is not None:
        hashes["forgetting"] = text_hash(_general_text(experiment))
    return hashes


def load_tasks(settings: EvaluationSettings, folder: Path) -> dict[str, Any]:
    """The lm-eval tasks that a folder has no results of, with their rows.

    Loaded before the training: a missing file must not end a run after hours.

    Raises:
        InputError: a task's rows can't be loaded.
    """
    names, include, fewshot = settings.lm_eval, settings.lm_eval_include, settings.lm_eval_fewshot
    return lm_eval_bridge.load_tasks(names, include, fewshot, folder)


def evaluate_tasks(
    settings: EvaluationSettings,
    tasks: dict[str, Any],
    folder: Path,
    model: Any,
    tokenizer: Any,
    title: str,
) -> dict[str, Any]:
    """Results of lm-eval tasks by name; those in `folder` are not computed again."""
    batch_size, limit = settings.batch_size, settings.lm_eval_limit
    of_model = (batch_size, limit, context_length(model), folder)
    return lm_eval_bridge.ask(model, tokenizer, tasks, *of_model, title=title)


def evaluate(
    experiment: Experiment,
    tasks: dict[str, Any],
    folder: Path,
    base_hash: str,
    model: Any,
    tokenizer: Any,
) -> dict[str, Any]:
    """What is asked for of `lm_eval` and `forgetting`, by key of the record."""
    settings, found = experiment.evaluation, {}
    if settings.lm_eval:
        name = experiment.name
        found["lm_eval"] = evaluate_tasks(settings, tasks, folder, model, tokenizer, name)
    if settings.forgetting is not None:
        base, text = model, _general_text(experiment)
        if experiment.trained or experiment.adapter is not None:
            # Disabling the adapter is not enough: some of peft's initialisations change the base.
            base, _ = shared_base(experiment.model, base_hash, pick_device())
        context = context_length(model)
        found["forgetting"] = forgetting(
            base, model, tokenizer, text, settings.batch_size, context, folder
        )
    return found


def _general_text(experiment: Experiment) -> list[str]:
    name = str(experiment.evaluation.forgetting)
    return general_documents(name, tiny=experiment.model.path == "embedded")
