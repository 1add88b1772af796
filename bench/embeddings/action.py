"""action=embeddings: the embedding study of a base and of the adapters trained on it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.config import Experiment, read_action, read_experiment
from bench.data.general import pretraining_documents
from bench.data.overlap import resolve_overlap
from bench.data.problems import ProblemSets, by_task
from bench.data.sources import load_problems
from bench.embeddings.saved_adapters import tuned_models
from bench.embeddings.study import Sources, StudySettings, study
from bench.errors import InputError
from bench.models.loading import pick_device
from bench.models.settings import check_folder, content_hash
from bench.models.shared import shared_base
from bench.report.embeddings.report import embeddings_report, write_embeddings
from bench.report.formats import show
from bench.runs.lifecycle import open_store
from bench.tracking.provenance import device_name
from bench.tracking.record import embeddings_metrics


def embeddings(config: dict[str, Any]) -> dict[str, Any]:
    """Measure, show, write and record."""
    settings, experiment = read_action(StudySettings, config), read_experiment(config)
    model, device = experiment.model, pick_device()
    problems, hashes = _problems_and_hashes(experiment, settings.rows == "train")
    counted = problems.tests
    if settings.rows == "train":
        counted = by_task(problems.train + problems.validation)
    pretraining = pretraining_documents(1000) if model.path == "embedded" else None
    sources = Sources(experiment.data.source, counted, problems.tests, pretraining)
    store = open_store(experiment.tracking)
    with tempfile.TemporaryDirectory() as copies:
        tuned = tuned_models(experiment, hashes, settings.adapters, store, Path(copies))
        base, tokenizer = shared_base(model, hashes["base"], device)
        report = study(base, tokenizer, sources, tuned, settings)
    report["model"] |= {"name": model.name, "published": model.published}
    report["device"] = device_name(device)
    shown = embeddings_report(report)
    show(shown)
    paths = write_embeddings(report, experiment.tracking.results)
    tags = {"model": model.name, "data": experiment.data.source}
    store.keep("embeddings", report, embeddings_metrics(report), tags, paths, shown.name)
    return {"summary": "embeddings -> " + ", ".join(map(str, paths))}


def _problems_and_hashes(
    experiment: Experiment, counts_training: bool
) -> tuple[ProblemSets, dict[str, str]]:
    """The rows of a study, and the content hashes of runs on the same base and rows."""
    check_folder(experiment.model)
    trained = bool(experiment.data.train)
    if counts_training and not trained:
        raise InputError("action.rows=train counts training rows: give data.train=[NAME]")
    problems = load_problems(experiment.data, trained)
    cache = experiment.tracking.results / "hashes.json"
    hashes = {"base": content_hash(experiment.model, cache), "tests": problems.test_hash}
    if trained:
        problems, _ = resolve_overlap(problems, experiment.keeps_overlap)
        hashes["train"] = problems.train_hash
    return problems, hashes
