"""action=efficiency: measure the methods' costs, or import a measurement, and report it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config import Experiment, read_experiment, read_tracking
from bench.data.batches import encode_training
from bench.data.problems import Problem, ProblemSets
from bench.data.sources import load_problems
from bench.efficiency.batching import measure_batching
from bench.efficiency.cases import CASES
from bench.efficiency.evaluation import compared_protocols, fine_tuned, measure_evaluation
from bench.efficiency.helm import measure_helm
from bench.efficiency.hyperbolicity import measure_hyperbolicity
from bench.efficiency.measure import EfficiencySettings, measure
from bench.efficiency.throughput import measure_case, measure_throughput
from bench.errors import InputError, unknown
from bench.fields import check_values, is_number, read_section
from bench.models.loading import context_length, load_base, pick_device
from bench.report.efficiency import efficiency_report, write_efficiency
from bench.report.formats import show
from bench.runs.lifecycle import open_store
from bench.tracking.record import efficiency_metrics

# The keys that every measurement has.
MEASURED = {"device", "threads", "settings", "versions", "cases", "operations", "skipped"}


@dataclass(frozen=True)
class Parts:
    """Further measurements, none for 0; or the file of a measurement made elsewhere."""

    throughput_rounds: int
    throughput_cases: list[str]
    throughput_seconds: float
    evaluation_problems: int
    evaluation_epochs: float
    hyperbolicity_prompts: int
    helm_tokens: int
    helm_batch: int
    file: str | None

    def __post_init__(self) -> None:
        check_values("action", self, least={n: 0 for n, v in vars(self).items() if is_number(v)})
        known = [name for name, case in CASES.items() if case.config]
        for name in self.throughput_cases:
            if name not in known:
                raise unknown("action.throughput_cases", name, known)


def efficiency(config: dict[str, Any]) -> dict[str, Any]:
    """Measure, show, write and record."""
    given = {key: value for key, value in config["action"].items() if key != "name"}
    own = {key: given.pop(key) for key in Parts.__annotations__}
    settings = read_section(EfficiencySettings, "action", given)
    parts = read_section(Parts, "action", own)
    tracking = read_tracking(config)
    store = open_store(tracking)
    report = _read(parts.file) if parts.file else _measure(config, settings, parts)
    shown = efficiency_report(report)
    show(shown)
    paths = write_efficiency(report, tracking.results)
    tags = {"device": report["device"]}
    store.keep("efficiency", report, efficiency_metrics(report), tags, paths, shown.name)
    return {"summary": "efficiency -> " + ", ".join(map(str, paths))}


def _measure(config: dict[str, Any], settings: EfficiencySettings, parts: Parts) -> dict[str, Any]:
    needed = parts.throughput_rounds or parts.evaluation_problems
    # Errors in settings and data must come before the measurement, which takes long.
    experiment = read_experiment(config) if needed else None
    if experiment:
        trained = parts.throughput_rounds > 0 or parts.evaluation_epochs > 0
        problems = load_problems(experiment.data, trained)
    report = measure(settings)
    if experiment and parts.throughput_rounds:
        rounds = parts.throughput_rounds
        report["throughput"] = _throughput(experiment, problems.train, rounds)
        report["throughput_cases"] = [
            measure_case(CASES[name], experiment.train, rounds, parts.throughput_seconds)
            for name in parts.throughput_cases
        ]
    if experiment and parts.evaluation_problems:
        report["evaluation"] = _evaluation(experiment, problems, parts, settings.rounds)
    if parts.hyperbolicity_prompts:
        report["hyperbolicity"] = measure_hyperbolicity(
            parts.hyperbolicity_prompts, settings.rounds
        )
    if parts.helm_tokens:
        batch = max(parts.helm_batch, 1)
        report["helm"] = measure_helm(parts.helm_tokens, settings.rounds, batch)
    return report


def _throughput(experiment: Experiment, train: list[Problem], rounds: int) -> dict[str, Any]:
    base, tokenizer = load_base(experiment.trained_base, pick_device())
    examples, _ = encode_training(
        tuple(train), tokenizer, experiment.protocol, context_length(base)
    )
    pad_id = tokenizer.pad_token_id
    found = measure_throughput(base, examples, experiment.train, pad_id, rounds)
    return {"model": experiment.model.name, "data": experiment.data.train, **found}


def _evaluation(
    experiment: Experiment, problems: ProblemSets, parts: Parts, rounds: int
) -> dict[str, Any]:
    epochs = parts.evaluation_epochs
    used = experiment.trained_base if epochs > 0 else experiment.evaluated_base
    model, tokenizer = load_base(used, pick_device())
    context = context_length(model)
    protocols = compared_protocols(experiment.protocol.max_new_tokens)
    if epochs > 0:
        model = fine_tuned(model, tokenizer, problems.train, protocols, experiment.train, epochs)
    count, batch_size = parts.evaluation_problems, experiment.evaluation.batch_size
    given = (count, batch_size, context)
    found = measure_evaluation(model, tokenizer, problems.tests, protocols, *given)
    found["batching"] = measure_batching(
        model, tokenizer, problems.tests, protocols["fast"], *given, rounds
    )
    training = {"epochs": epochs, "rows": len(problems.train), "data": experiment.data.train}
    return {"model": experiment.model.name, "taught": training if epochs > 0 else None, **found}


def _read(file: str) -> dict[str, Any]:
    try:
        report = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"action.file={file} can't be read: {error}") from error
    if not isinstance(report, dict) or not report.keys() >= MEASURED:
        raise InputError(f"action.file={file} was not written by python -m bench.efficiency")
    return report
