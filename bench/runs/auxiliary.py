"""Auxiliary evaluations of a model, if asked for: tasks of lm-eval, and forgetting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.config import Experiment
from bench.data.general import general_documents
from bench.data.prompts import CHAT
from bench.evaluation import lm_eval_bridge
from bench.evaluation.forgetting import forgetting, text_hash
from bench.models.compiled import compiled
from bench.models.loading import context_length, pick_device
from bench.models.shared import shared_base


def content_hashes(experiment: Experiment) -> dict[str, str]:
    """Content hashes of task files and general text that the results depend on."""
    settings, hashes = experiment.evaluation, {}
    if settings.lm_eval and settings.lm_eval_include is not None:
        hashes["lm_eval_include"] = lm_eval_bridge.include_hash(settings.lm_eval_include)
    if settings.forgetting is not None:
        hashes["forgetting"] = text_hash(_general_text(experiment))
    return hashes


def evaluate(
    experiment: Experiment,
    tasks: dict[str, Any],
    folder: Path,
    base_hash: str,
    model: Any,
    tokenizer: Any,
) -> dict[str, Any]:
    """The requested results, `lm_eval` and `forgetting`, by key of the record."""
    settings, found = experiment.evaluation, {}
    if settings.lm_eval:
        chat = experiment.protocol.template == CHAT
        found["lm_eval"] = lm_eval_bridge.evaluate_tasks(
            settings, tasks, model, tokenizer, folder, experiment.name, chat
        )
    if settings.forgetting is not None:
        base, text = model, _general_text(experiment)
        if experiment.trained or experiment.adapter is not None:
            # Disabling the adapter is not enough: some of peft's initialisations change the base.
            where = (pick_device(), experiment.sharded)
            base, _ = shared_base(experiment.evaluated_base, base_hash, *where)
        context = context_length(model)
        with compiled(base, settings.compile and base is not model):
            found["forgetting"] = forgetting(
                base, model, tokenizer, text, settings.batch_size, context, folder
            )
    return found


def _general_text(experiment: Experiment) -> list[str]:
    name = str(experiment.evaluation.forgetting)
    return general_documents(name, tiny=experiment.model.path == "embedded")
