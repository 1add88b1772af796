"""What a run can do, by the name of its file in conf/action/.

An action takes the resolved configuration and returns plain data, which a sweep's workers can hand
to their parent: a `summary` of one line, and for a run its `record` and whether it was `found`.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.config import Experiment
    from bench.data.problems import Problem, ProblemSets

BEGAN = "HYPLORA_BENCH_BEGAN"  # when the command began; run.py sets it in every process


def finetune(config: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune, evaluate and record."""
    from bench.config import read_experiment
    from bench.experiment import run
    from bench.progress import duration

    experiment, began = read_experiment(config), float(os.environ[BEGAN])
    if config["plan"]:
        return {"summary": _plan(experiment, began)}
    outcome = run(experiment, began, _watch(**config["trial"]))
    record = outcome.record
    scores = ", ".join(f"{s['label']} {s['accuracy']:.1f}" for s in record["scores"].values())
    times = [record["seconds"][part] for part in ("finetune", "evaluate")]
    told = "on record already" if outcome.found else f"took {duration(sum(filter(None, times)))}"
    summary = f"{outcome.name}: {scores} ({told}) -> {outcome.folder}"
    return {"summary": summary, "found": outcome.found, "record": record}


def _plan(experiment: Experiment, began: float) -> str:
    from bench.experiment import look_up, open_store

    prepared, outcome, last = look_up(experiment, open_store(experiment), began)
    state = "is on record" if outcome else f"was left {last.status}" if last else "is to do"
    return f"{experiment.name} {state} -> {prepared.folder}"


def _watch(
    storage: str | None, study: str | None, id: int | None
) -> Callable[[int, float], None] | None:
    """What gives a run up when the search that it is a trial of says so; None outside of one."""
    if storage is None or id is None:
        return None
    import optuna

    from bench.errors import Pruned
    from bench.sweep.study import open_storage

    pruner = optuna.pruners.MedianPruner()
    known = optuna.load_study(study_name=study, storage=open_storage(storage), pruner=pruner)
    trial = optuna.trial.Trial(known, id)

    def watch(step: int, loss: float) -> None:
        trial.report(loss, step)
        if trial.should_prune():
            raise Pruned(f"given up at step {step}: {loss:.4g} is above the median of the trials")

    return watch


def overlap(config: dict[str, Any]) -> dict[str, Any]:
    """Count what each training set shares with each test set; nothing is trained."""
    from bench.config import read_experiment
    from bench.data.overlap import count_overlap
    from bench.data.problems import by_task
    from bench.data.sources import load_problems
    from bench.report.overlap_matrix import overlap_document
    from bench.report.render import show

    experiment = read_experiment(config)
    problems = load_problems(experiment.data, trained=True)
    training = problems.train + problems.validation
    by_set = by_task(training)

    def counted(rows: list[Problem]) -> dict[str, Any]:
        tests, train = count_overlap(rows, problems.tests)
        return {"rows": len(rows), "tests": tests, "train": train}

    together = counted(training)
    each = {name: counted(rows) for name, rows in by_set.items()} if len(by_set) > 1 else {}
    kept = experiment.keeps_overlap
    show(overlap_document(each or dict.fromkeys(by_set, together), together, kept))
    masked, near = together["train"]["masked"], together["train"]["near"]
    done = "kept" if kept else "left out"
    return {
        "summary": f"{masked} of {len(training)} training rows stand in a test set to the letter "
        f"or masked, and are {done}; {near - masked} more nearly do"
    }


def pretrain(config: dict[str, Any]) -> dict[str, Any]:
    """Pretrain a base from random weights, measure and record it."""
    from bench.pretraining import tasks
    from bench.pretraining.run import look_up, open_store
    from bench.pretraining.run import pretrain as run
    from bench.pretraining.settings import read_pretraining
    from bench.progress import duration

    wanted, began = read_pretraining(config), float(os.environ[BEGAN])
    if config["plan"]:
        prepared, found, last = look_up(wanted, open_store(wanted), began)
        state = "is on record" if found else f"was left {last.status}" if last else "is to do"
        return {"summary": f"{wanted.name} {state} -> {prepared.folder}"}
    outcome = run(wanted, began)
    training, model = outcome.record["training"], outcome.folder / "model"
    told = "on record already" if outcome.found else f"took {duration(training['seconds'])}"
    where = model if model.is_dir() else "its folder is gone: force=true pretrains it again"
    answers = tasks.told(wanted.evaluation, outcome.record)
    bits = f"{training['bits_per_byte']:.4f} bits per byte ({told})"
    summary = f"{outcome.name}: {bits}{answers} -> {where}"
    return {"summary": summary, "found": outcome.found, "record": outcome.record}


def tiny_base(config: dict[str, Any]) -> dict[str, Any]:
    """Make the embedded base."""
    from bench.config import PROJECT, results_folder
    from bench.training.tiny_base import TinyBaseSettings, make_tiny_base

    settings = {k: v for k, v in config["action"].items() if k != "name"}
    settings["output"] = str(PROJECT / settings["output"])
    states = results_folder(config["tracking"]["folder"]) / "pretraining"
    folder, record = make_tiny_base(TinyBaseSettings(**settings), states)
    probes = ", ".join(f"{name} {share:.2f}" for name, share in record["probes"].items())
    loss = record["validation_loss"]
    return {"summary": f"embedded base: loss {loss:.3f}, probes {probes} -> {folder}"}


def efficiency(config: dict[str, Any]) -> dict[str, Any]:
    """Time every method beside LoRA, or take a measurement made elsewhere, and report on it."""
    from bench.config import TrackingSettings, read_experiment, read_section, results_folder
    from bench.efficiency.helm import measure_helm
    from bench.efficiency.hyperbolicity import measure_hyperbolicity
    from bench.efficiency.measure import EfficiencySettings, measure
    from bench.errors import InputError
    from bench.report.efficiency import efficiency_document, write_efficiency
    from bench.report.render import show
    from bench.tracking.record import efficiency_metrics
    from bench.tracking.store import Store

    own = (
        *("name", "file", "throughput_rounds", "evaluation_problems", "evaluation_epochs"),
        *("hyperbolicity_prompts", "helm_tokens", "helm_batch"),
    )
    given = {k: v for k, v in config["action"].items() if k not in own}
    settings = read_section(EfficiencySettings, "action", given)
    file, *parts = (config["action"][key] for key in own[1:])
    if min(parts) < 0:
        raise InputError(f"action.{', '.join(own[2:])} must not be negative")
    rounds, problems, epochs, prompts, tokens, batch = parts
    report = _read_report(file) if file else measure(settings)
    if rounds and not file:
        report["throughput"] = _throughput(read_experiment(config), rounds)
    if problems and not file:
        report["evaluation"] = _evaluation(read_experiment(config), problems, epochs)
    if prompts and not file:
        report["hyperbolicity"] = measure_hyperbolicity(prompts, settings.rounds)
    if tokens and not file:
        report["helm"] = measure_helm(tokens, settings.rounds, max(batch, 1))
    show(efficiency_document(report))
    folder = results_folder(config["tracking"]["folder"])
    paths = write_efficiency(report, folder)
    tracking = read_section(TrackingSettings, "tracking", config["tracking"])
    store = Store(folder, tracking.uri, tracking.experiment)
    store.keep("efficiency", efficiency_metrics(report), {"device": report["device"]}, paths)
    return {"summary": "efficiency -> " + ", ".join(map(str, paths))}


def embeddings(config: dict[str, Any]) -> dict[str, Any]:
    """Study a base's embeddings: frequencies, norms, and how tree-like its spaces are."""
    from bench.config import read_experiment, read_section
    from bench.data.general import read_by_the_embedded_base
    from bench.data.problems import by_task
    from bench.embeddings.settings import Sources, StudySettings
    from bench.embeddings.study import study
    from bench.experiment import open_store
    from bench.models.loading import pick_device
    from bench.models.shared import shared_base
    from bench.recorded import tuned_models
    from bench.report.embeddings import embeddings_document, write_embeddings
    from bench.report.render import show
    from bench.tracking.provenance import device_name
    from bench.tracking.record import embeddings_metrics

    given = {k: v for k, v in config["action"].items() if k != "name"}
    settings = read_section(StudySettings, "action", given)
    experiment = read_experiment(config)
    model = experiment.model
    problems, hashes = _problems_and_hashes(experiment, settings.rows == "train")
    counted = problems.tests
    if settings.rows == "train":
        counted = by_task(problems.train + problems.validation)
    store = open_store(experiment)
    with tempfile.TemporaryDirectory() as copies:
        tuned = tuned_models(experiment, hashes, settings.adapters, store, Path(copies))
        pretraining = read_by_the_embedded_base(1000) if model.path == "embedded" else None
        base, tokenizer = shared_base(model, hashes["base"], pick_device())
        sources = Sources(experiment.data.source, counted, problems.tests, pretraining)
        report = study(base, tokenizer, sources, tuned, settings)
    report["model"] |= {"name": model.name, "published": model.published}
    report["device"] = device_name(pick_device())
    show(embeddings_document(report))
    paths = write_embeddings(report, experiment.results)
    tags = {"model": model.name, "data": experiment.data.source}
    store.keep("embeddings", embeddings_metrics(report), tags, paths)
    return {"summary": "embeddings -> " + ", ".join(map(str, paths))}


def lm_eval_tasks(config: dict[str, Any]) -> dict[str, Any]:
    """Write the test sets as task files for lm-eval."""
    from bench.config import PROJECT, read_experiment
    from bench.data.sources import load_problems
    from bench.evaluation.lm_eval_tasks import write_tasks

    experiment = read_experiment(config)
    tests = load_problems(experiment.data, trained=False).tests
    folder = PROJECT / Path(config["action"]["folder"]).expanduser()
    names = write_tasks(tests, experiment.protocol, folder)
    return {"summary": f"{', '.join(names)} -> {folder}"}


def report(config: dict[str, Any]) -> dict[str, Any]:
    """Make every table and figure again from the tracking store."""
    from bench.report.action import report as make

    return make(config)


def publish(config: dict[str, Any]) -> dict[str, Any]:
    """Write the records behind a table, or a measurement, as files."""
    from bench.records.publish import publish as write

    return write(config)


def import_(config: dict[str, Any]) -> dict[str, Any]:
    """Put records that were published into the tracking store."""
    from bench.records.importing import import_ as read

    return read(config)


def dashboard(config: dict[str, Any]) -> dict[str, Any]:
    """Serve MLflow's page over the recorded runs until Ctrl-C."""
    from bench.config import TrackingSettings, read_section, results_folder
    from bench.sweep.launch import ended_by_sigterm
    from bench.tracking.dashboard import DashboardSettings
    from bench.tracking.dashboard import dashboard as serve

    given = {key: value for key, value in config["action"].items() if key != "name"}
    settings = read_section(DashboardSettings, "action", given)
    tracking = read_section(TrackingSettings, "tracking", config["tracking"])
    folder = results_folder(tracking.folder)
    with ended_by_sigterm(signal.SIGHUP):  # of a terminal that is closed
        told = serve(folder, tracking.uri, tracking.experiment, settings.port)
    return {"summary": told}


def export(config: dict[str, Any]) -> dict[str, Any]:
    """Write a finished run's adapter with what someone else needs to use it."""
    from bench.config import PROJECT, TrackingSettings, read_section, results_folder
    from bench.errors import InputError
    from bench.export import ExportSettings
    from bench.export import export as write
    from bench.tracking.store import Store

    given = {key: value for key, value in config["action"].items() if key != "name"}
    settings = read_section(ExportSettings, "action", given)
    if not settings.run:
        raise InputError(
            "action.run is missing: give a run's id or folder, action.run=results/runs/ID"
        )
    tracking = read_section(TrackingSettings, "tracking", config["tracking"])
    results = results_folder(tracking.folder)
    kept = tracking.uri is not None or (results / "mlflow.db").is_file()
    store = Store(results, tracking.uri, tracking.experiment) if kept else None
    folder = PROJECT / Path(settings.folder).expanduser() if settings.folder else None
    folder = write(settings.run, results, store, folder)
    return {"summary": f"{', '.join(sorted(p.name for p in folder.iterdir()))} -> {folder}"}


def _throughput(experiment: Experiment, rounds: int) -> dict[str, Any]:
    from bench.data.batches import encode_training
    from bench.data.sources import load_problems
    from bench.efficiency.throughput import measure_throughput
    from bench.models.loading import context_length, load_base, pick_device

    base, tokenizer = load_base(experiment.model, pick_device())
    problems = load_problems(experiment.data, trained=True).train
    examples, _ = encode_training(
        problems, tokenizer, experiment.protocol, context_length(base), train_on_inputs=False
    )
    pad_id = tokenizer.pad_token_id
    found = measure_throughput(base, examples, experiment.train, pad_id, rounds)
    return {"model": experiment.model.name, "data": experiment.data.train, **found}


def _evaluation(experiment: Experiment, count: int, epochs: float) -> dict[str, Any]:
    from bench.data.sources import load_problems
    from bench.efficiency.evaluation import measure_evaluation, protocols_beside, taught
    from bench.models.loading import context_length, load_base, pick_device

    model, tokenizer = load_base(experiment.model, pick_device())
    context = context_length(model)
    problems = load_problems(experiment.data, trained=epochs > 0)
    protocols = protocols_beside(experiment.protocol.max_new_tokens)
    if epochs > 0:
        model = taught(model, tokenizer, problems.train, protocols, experiment.train, epochs)
    batch_size = experiment.evaluation.batch_size
    found = measure_evaluation(
        model, tokenizer, problems.tests, protocols, count, batch_size, context
    )
    taught_on = {"epochs": epochs, "rows": len(problems.train), "data": experiment.data.train}
    return {"model": experiment.model.name, "taught": taught_on if epochs > 0 else None, **found}


def _problems_and_hashes(
    experiment: Experiment, counts_training: bool
) -> tuple[ProblemSets, dict[str, str]]:
    """The rows of a study, and what runs on the same base and rows have for hashes."""
    from bench.data.overlap import resolve_overlap
    from bench.data.sources import load_problems
    from bench.errors import InputError
    from bench.models.settings import check_folder, content_hash

    check_folder(experiment.model)
    trained = bool(experiment.data.train)
    if counts_training and not trained:
        raise InputError("action.rows=train counts training rows: give data.train=[NAME]")
    problems = load_problems(experiment.data, trained)
    if trained:
        problems, _ = resolve_overlap(problems, experiment.keeps_overlap)
    cache = experiment.results / "hashes.json"
    hashes = {"base": content_hash(experiment.model, cache), "tests": problems.test_hash}
    return problems, hashes | ({"train": problems.train_hash} if trained else {})


def _read_report(file: str) -> dict[str, Any]:
    from bench.errors import InputError

    try:
        report = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"action.file={file} can't be read: {error}") from error
    if not isinstance(report, dict) or "cases" not in report:
        raise InputError(f"action.file={file} is no measurement of python -m bench.efficiency")
    return report


ACTIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "dashboard": dashboard,
    "efficiency": efficiency,
    "embeddings": embeddings,
    "export": export,
    "finetune": finetune,
    "import": import_,
    "lm_eval_tasks": lm_eval_tasks,
    "overlap": overlap,
    "pretrain": pretrain,
    "publish": publish,
    "report": report,
    "tiny_base": tiny_base,
}
