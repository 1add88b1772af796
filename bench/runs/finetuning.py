"""The two long steps of a fine-tuning run: training the adapter, and evaluating it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from bench.config import Experiment
from bench.data.batches import encode_training
from bench.data.chat import prompt_ids, training_ids, turn_end
from bench.data.problems import Problem, ProblemSets
from bench.data.prompts import CHAT, training_text
from bench.errors import InputError, warn_once
from bench.evaluation.evaluate import evaluate as predict
from bench.evaluation.scoring import averages, nll_averages, scores
from bench.files import write_json
from bench.methods import attach, count_parameters, gate_statistics, warn_of_gates
from bench.models.loading import context_length, on_cpu, pick_device, weight_dtype
from bench.models.settings import ModelSettings
from bench.models.shared import shared_base
from bench.runs.attempt import finished_training
from bench.training.adapters import load_adapter, save_adapter
from bench.training.finetune import finetune

Watch = Callable[[int, float], None]

SAMPLE = 64  # validation prompts that gates are measured on


def train(
    experiment: Experiment,
    problems: ProblemSets,
    folder: Path,
    base_hash: str,
    watch: Watch | None = None,
) -> tuple[Any, Any, dict[str, Any]]:
    """The model to evaluate: trained, resumed, with a saved adapter, or the base itself.

    The run's folder holds checkpoints, and at the end adapter/ and training.json. `watch` is called
    with (step, validation loss).

    Returns:
        The model, its tokenizer, and the training's part of the record.
    """
    device, sharded = pick_device(), experiment.sharded
    adapter = folder / "adapter"
    finished = finished_training(folder, adapter / "adapter_config.json")
    if finished or not experiment.trained:
        base, tokenizer = _base(experiment, experiment.evaluated_base, base_hash, device, sharded)
    elif sharded:  # the ranks move their shards to the devices
        trained = on_cpu(experiment.trained_base)
        base, tokenizer = _base(experiment, trained, base_hash, torch.device("cpu"))
    else:
        base, tokenizer = _base(experiment, experiment.trained_base, base_hash, device)
    if experiment.adapter is not None:
        model = load_adapter(base, Path(experiment.adapter).expanduser())
        return model, tokenizer, {"parameters": count_parameters(model)}
    if finished:
        return load_adapter(base, adapter), tokenizer, finished
    texts = [training_text(p, experiment.protocol)[0] for p in problems.validation[:SAMPLE]]
    context = context_length(base)
    sample = [ids[:context] for ids in prompt_ids(texts, tokenizer, experiment.protocol)]
    torch.manual_seed(experiment.seed)
    method = experiment.method
    try:
        model = attach(base, method.module, method.options, sample)
    except (TypeError, ValueError) as error:
        raise InputError(f"method {method.name}: {error}") from error
    training: dict[str, Any] = {"parameters": count_parameters(model)}
    if not experiment.trained:
        return model, tokenizer, training
    gates = {"start": gate_statistics(model, sample)}
    warn_of_gates(gates["start"])
    # The ranks load the commit that is loaded here, even if a branch moves meanwhile.
    commit = base.commit or experiment.model.revision
    experiment = replace(experiment, model=replace(experiment.model, revision=commit))
    training |= _finetune(experiment, problems, model, tokenizer, folder / "checkpoint", watch)
    save_adapter(model, adapter)
    gates["end"] = gate_statistics(model, sample)
    training["gates"] = {when: list(map(asdict, found)) for when, found in gates.items() if found}
    write_json(folder / "training.json", training)
    trained, evaluated = experiment.trained_base, experiment.evaluated_base
    if sharded or weight_dtype(trained.dtype, device) != weight_dtype(evaluated.dtype, device):
        del base, model
        base, _ = _base(experiment, evaluated, base_hash, device, sharded)
        model = load_adapter(base, adapter)
    return model, tokenizer, training


def _base(
    experiment: Experiment,
    settings: ModelSettings,
    base_hash: str,
    device: torch.device,
    spread: bool = False,
) -> tuple[Any, Any]:
    """The base and its tokenizer; with its chat template, it stops at the end of a turn."""
    base, tokenizer = shared_base(settings, base_hash, device, spread)
    protocol = experiment.protocol
    if protocol.template == CHAT:
        stops = [*base.generation_config.eos_token_id, turn_end(tokenizer)]
        base.generation_config.eos_token_id = list(dict.fromkeys(stops))
    elif tokenizer.chat_template and protocol.style is None:
        warn_once(
            f"the base {experiment.model.name} has a chat template, but protocol={protocol.name} "
            "prompts it in plain text: protocol=chat uses the template"
        )
    return base, tokenizer


def _finetune(
    experiment: Experiment,
    problems: ProblemSets,
    model: Any,
    tokenizer: Any,
    checkpoints: Path,
    watch: Watch | None,
) -> dict[str, Any]:
    settings, encoded = experiment.train, []
    for rows in (problems.train, problems.validation):
        context, on_inputs = context_length(model), settings.train_on_inputs
        encoded.append(
            encode_training(tuple(rows), tokenizer, experiment.protocol, context, on_inputs)
        )
    (examples, too_long), (validation, validation_too_long) = encoded
    if not examples:
        raise _no_row_fits(experiment, "training", problems.train, tokenizer, context)
    if not validation and settings.keep == "best":
        raise _no_row_fits(experiment, "validation", problems.validation, tokenizer, context)
    done = finetune(
        model,
        examples,
        validation,
        settings,
        experiment.seed,
        tokenizer.pad_token_id,
        checkpoints=checkpoints,
        title=f"{experiment.name}: fine-tuning",
        watch=watch,
        base=experiment.trained_base,
    )
    return asdict(done) | {
        "rows": len(examples),
        "too_long": too_long,
        "cut": sum(example.cut for example in examples),
        "validation_rows": len(validation),
        "validation_too_long": validation_too_long,
    }


def _no_row_fits(
    experiment: Experiment, kind: str, rows: list[Problem], tokenizer: Any, context: int
) -> InputError:
    if not rows:
        return InputError(
            f"no {kind} row is left, because each is also a test row: give more rows, or "
            "data.keep_overlap=true"
        )
    texts = [training_text(row, experiment.protocol) for row in rows]
    shortest = min(map(len, training_ids(texts, tokenizer, experiment.protocol)[1]))
    limit = experiment.protocol.max_length or context
    name = "protocol.max_length" if limit < context else "the context (model.context)"
    return InputError(
        f"no {kind} row fits: {name} is {min(limit, context)} tokens, "
        f"the shortest row has {shortest}"
    )


def evaluate(
    experiment: Experiment, problems: ProblemSets, folder: Path, model: Any, tokenizer: Any
) -> dict[str, Any]:
    """Scores by test set, their averages and seconds of generation; resumes predictions.jsonl."""
    asked, protocol = problems.split(experiment.evaluation.split), experiment.protocol
    predictions = predict(
        model,
        tokenizer,
        asked,
        protocol,
        experiment.evaluation.batch_size,
        context_length(model),
        folder / "predictions.jsonl",
        title=f"{experiment.name}: evaluation",
        batching=experiment.evaluation.batching,
    )
    by_set = scores(predictions, asked, protocol)
    seconds = sum(prediction.seconds for prediction in predictions)
    return {
        "scores": by_set,
        "averages": averages(by_set),
        "nll": nll_averages(predictions, by_set),
        "seconds": seconds,
    }
