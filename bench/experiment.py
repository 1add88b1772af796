"""What one fine-tuning run is: prepare, fine-tune, evaluate, record.

Each part leaves its result in the run's folder before the next begins, so a run that is killed
anywhere goes on where it was: training from its last checkpoint, evaluation after its last line.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench import extras
from bench.attempt import attempt
from bench.config import PROJECT, Experiment
from bench.data.known_files import compare
from bench.data.overlap import Overlap, resolve_overlap
from bench.data.problems import ProblemSets
from bench.data.sources import load_problems
from bench.errors import InputError
from bench.files import empty_run, write_json
from bench.identity import RESULT_VERSION, identity
from bench.models.settings import check_folder, content_hash, folder_hash
from bench.report.gates import draw_gates
from bench.report.note import run_note
from bench.tracking.backend import without_password
from bench.tracking.record import params
from bench.tracking.store import Attempt, Store

Watch = Callable[[int, float], None]

SAMPLE = 64  # validation prompts that gates are measured on


@dataclass(frozen=True)
class Prepared:
    """What is known of a run before anything is trained; `folder` is results/runs/<id>/."""

    problems: ProblemSets
    overlap: Overlap | None
    hashes: dict[str, str]
    precision: str
    identity: str
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `found` says that it was on record already and nothing was done."""

    name: str
    found: bool
    record: dict[str, Any]
    folder: Path


def look_up(
    experiment: Experiment, store: Store, began: float | None = None
) -> tuple[Prepared, Outcome | None, Attempt | None]:
    """What is known of a run before it is started; nothing is trained or written down.

    Args:
        experiment: the run.
        store: that it is recorded in.
        began: as for `run`.

    Returns:
        What was prepared; the outcome where the run is on record; else how it was left when it
        was last tried, None where it never was.

    Raises:
        InputError: what is asked for can't be done.
    """
    experiment = _as_saved(experiment)
    prepared = prepare(experiment)
    done = _on_record(experiment, prepared, store, began)
    if done:
        return prepared, done, None
    _check(experiment)
    return prepared, None, store.attempt(prepared.identity)


def open_store(experiment: Experiment) -> Store:
    """The tracking store that a run is recorded in."""
    return Store(experiment.results, experiment.tracking.uri, experiment.tracking.experiment)


def run(experiment: Experiment, began: float | None = None, watch: Watch | None = None) -> Outcome:
    """Run an experiment, or find the finished run that is the same.

    Args:
        experiment: what to run.
        began: when the command began, in seconds since the epoch: under `force` a run that finished
            after it counts, so that a grid forces each of its different runs once. With None
            none counts.
        watch: called with (step, validation loss) whenever one is taken; may raise `Pruned`.

    Raises:
        InputError: what was asked for can't be done.
        Exception: whatever went wrong on the way; the run is on record as failed, with the reason.
    """
    experiment = _as_saved(experiment)
    prepared = prepare(experiment)
    store = open_store(experiment)
    done = _on_record(experiment, prepared, store, began)
    if done:
        return done
    _check(experiment)
    prepared.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(prepared.folder / "lock"):
        # A second process with the same run waited at the lock, and finds it finished.
        done = _on_record(experiment, prepared, store, began)
        if done:
            return done
        if experiment.force and (prepared.folder / "record.json").exists():
            empty_run(prepared.folder)
        parent = experiment.tracking.parent
        # Runs that differ in an option alone have the same name; the folder's tells them apart.
        told = f"{experiment.name} {prepared.identity[:6]}"
        run_id = store.start(prepared.identity, told, params(_settings(experiment)), parent)
        with attempt(store, run_id, prepared.folder):
            tasks = extras.load(experiment.evaluation, prepared.folder)
            model, tokenizer, training = finetune(experiment, prepared, watch)
            evaluation = evaluate(experiment, prepared, model, tokenizer)
            evaluation |= extras.measure(
                experiment, prepared.hashes["base"], prepared.folder, model, tokenizer, tasks
            )
            if training.get("gates"):
                draw_gates(training["gates"], experiment.name, prepared.folder / "gates.png")
            record = _record(experiment, prepared, run_id, training, evaluation)
            record["base_commit"] = getattr(model, "commit", None)
            write_json(prepared.folder / "record.json", record)
            store.finish(run_id, record, prepared.folder, run_note(record, prepared.folder))
        return Outcome(experiment.name, False, record, prepared.folder)


def _on_record(
    experiment: Experiment, prepared: Prepared, store: Store, began: float | None
) -> Outcome | None:
    """The finished run that is the same; under `force` only one that finished after `began`."""
    since = began if experiment.force else 0.0
    run_id = None if since is None else store.finished(prepared.identity, since)
    if run_id is None:
        return None
    record = store.record(run_id) | _names(experiment)
    return Outcome(experiment.name, True, record, prepared.folder)


def _check(experiment: Experiment) -> None:
    """Refuse, before a model is loaded, what the method or lm-eval would refuse later.

    Raises:
        InputError: an option is out of its range, or a task of lm-eval's is not known.
    """
    from bench.training.activations import check_checkpointing
    from bench.training.adapters import check_options

    config = check_options(experiment.method.module, experiment.method.options)
    if experiment.trained and experiment.train.gradient_checkpointing:
        check_checkpointing(config)
    extras.check(experiment.evaluation)


def _as_saved(experiment: Experiment) -> Experiment:
    """The experiment with the options that its adapter was saved with, where it names one."""
    if not experiment.adapter:
        return experiment
    from bench.training.adapters import saved_options

    method, folder = experiment.method, Path(experiment.adapter).expanduser()
    options = saved_options(folder, method.module, method.options)
    return replace(experiment, method=replace(method, options=options))


def prepare(experiment: Experiment) -> Prepared:
    """Read the rows, check base and adapter, and compute the run's identity."""
    check_folder(experiment.model)
    problems = load_problems(experiment.data, experiment.trained)
    overlap = None
    if experiment.trained:
        problems, overlap = resolve_overlap(problems, experiment.keeps_overlap)
        if not problems.train:
            raise InputError(
                "every training row stands in a test set; data.keep_overlap=true trains on them"
            )
    cache = experiment.results / "hashes.json"
    hashes = {"base": content_hash(experiment.model, cache), "tests": problems.test_hash}
    if experiment.trained:
        hashes["train"] = problems.train_hash
    if experiment.adapter:
        hashes["adapter"] = folder_hash(Path(experiment.adapter).expanduser())
    hashes |= extras.content_hashes(experiment)

    from bench.models.loading import check_devices, pick_device, weight_dtype
    from bench.training.loop import resolve_precision

    device = pick_device()
    if experiment.trained:
        check_devices("train.devices", experiment.train.devices, device)
    precision = resolve_precision(experiment.train.precision, device)
    dtype = str(weight_dtype(experiment.model.dtype, device))
    name = identity(experiment, hashes, precision, dtype)
    folder = experiment.results / "runs" / name[:12]
    return Prepared(problems, overlap, hashes, precision, name, folder)


def finetune(
    experiment: Experiment, prepared: Prepared, watch: Watch | None = None
) -> tuple[Any, Any, dict[str, Any]]:
    """The model to evaluate, its tokenizer, and what training did."""
    import torch

    from bench.data.batches import encode_training
    from bench.methods import attach, count_parameters, gate_statistics
    from bench.models.loading import context_length, pick_device
    from bench.models.shared import shared_base
    from bench.training.adapters import load_adapter, save_adapter
    from bench.training.finetune import finetune

    base, tokenizer = shared_base(experiment.model, prepared.hashes["base"], pick_device())
    if experiment.adapter:
        model = load_adapter(base, Path(experiment.adapter).expanduser())
        return model, tokenizer, {"parameters": count_parameters(model)}
    adapter, facts = prepared.folder / "adapter", prepared.folder / "training.json"
    if (before := _trained_before(adapter, facts)) is not None:  # killed in evaluation
        return load_adapter(base, adapter), tokenizer, before

    sample = _sample(experiment, prepared, tokenizer)
    torch.manual_seed(experiment.seed)
    try:
        model = attach(base, experiment.method.module, experiment.method.options, sample)
    except (TypeError, ValueError) as error:
        raise InputError(f"method {experiment.method.name}: {error}") from error
    training: dict[str, Any] = {"parameters": count_parameters(model)}
    if not experiment.trained:
        return model, tokenizer, training
    encode = (tokenizer, experiment.protocol, context_length(base))
    on_inputs = experiment.train.train_on_inputs
    examples, too_long = encode_training(prepared.problems.train, *encode, on_inputs)
    validation, unseen = encode_training(prepared.problems.validation, *encode, on_inputs)
    gates = {"start": gate_statistics(model, sample)}
    done = finetune(
        model,
        examples,
        validation,
        experiment.train,
        experiment.seed,
        tokenizer.pad_token_id,
        checkpoints=prepared.folder / "checkpoint",
        title=f"{experiment.name}: fine-tuning",
        watch=watch,
        # The ranks take the commit that is loaded here; a branch may move meanwhile.
        base=replace(experiment.model, revision=base.commit or experiment.model.revision),
    )
    save_adapter(model, adapter)
    gates["end"] = gate_statistics(model, sample)
    training |= asdict(done) | {
        "rows": len(examples),
        "too_long": too_long,
        "cut": sum(example.cut for example in examples),
        "validation_rows": len(validation),
        "validation_too_long": unseen,
        "gates": {when: list(map(asdict, found)) for when, found in gates.items() if found},
    }
    write_json(facts, training)
    return model, tokenizer, training


def _trained_before(adapter: Path, facts: Path) -> dict[str, Any] | None:
    """What training did, where it ended and all of it is still there."""
    if not (facts.is_file() and (adapter / "adapter_config.json").is_file()):
        return None
    try:
        return json.loads(facts.read_text(encoding="utf-8"))
    except ValueError:
        return None  # it is made again, with the adapter


def _sample(experiment: Experiment, prepared: Prepared, tokenizer: Any) -> list[list[int]]:
    """Tokens of the first validation prompts: what methods are measured on."""
    from bench.data.prompts import training_text

    problems = prepared.problems.validation[:SAMPLE]
    texts = [training_text(problem, experiment.protocol)[0] for problem in problems]
    return [tokenizer(text)["input_ids"] for text in texts]


def evaluate(
    experiment: Experiment, prepared: Prepared, model: Any, tokenizer: Any
) -> dict[str, Any]:
    """Predictions for every row of the split, as scores and averages."""
    from bench.evaluation.evaluate import evaluate
    from bench.evaluation.scoring import averages, scores
    from bench.models.loading import context_length

    asked = prepared.problems.split(experiment.evaluation.split)
    predictions = evaluate(
        model,
        tokenizer,
        asked,
        experiment.protocol,
        experiment.evaluation.batch_size,
        context_length(model),
        prepared.folder / "predictions.jsonl",
        title=f"{experiment.name}: evaluation",
    )
    by_set = scores(predictions, asked, experiment.protocol)
    seconds = sum(prediction.seconds for prediction in predictions)
    return {"scores": by_set, "averages": averages(by_set), "seconds": seconds}


def _record(
    experiment: Experiment,
    prepared: Prepared,
    run_id: str,
    training: dict[str, Any],
    evaluation: dict[str, Any],
) -> dict[str, Any]:
    from bench.models.loading import pick_device
    from bench.tracking.provenance import device_name, git_state, package_versions

    return {
        "identity": prepared.identity,
        "result_version": RESULT_VERSION,
        "run_id": run_id,
        "method": experiment.method.name,
        "curvature": experiment.method.curvature,
        "seed": experiment.seed if experiment.trained else None,
        **_names(experiment),
        "data": experiment.data.source,
        "split": experiment.evaluation.split,
        "protocol": experiment.protocol.name,
        "scores": evaluation["scores"],
        "averages": evaluation["averages"],
        "parameters": training["parameters"],
        "seconds": {"finetune": training.get("seconds"), "evaluate": evaluation["seconds"]},
        "rows": {
            "train": training.get("rows", 0),
            "train_too_long": training.get("too_long", 0),
            "train_cut": training.get("cut", 0),
            "train_without_output": prepared.problems.without_output,
            "validation": training.get("validation_rows", 0),
            "validation_too_long": training.get("validation_too_long", 0),
        },
        "training": training,
        "overlap": asdict(prepared.overlap) if prepared.overlap else None,
        "options": experiment.method.options,
        "config": _settings(experiment),
        "train": asdict(experiment.train) | {"precision": prepared.precision},
        "hashes": prepared.hashes,
        "files": prepared.problems.files,
        "data_files": compare(prepared.problems.files),
        "versions": package_versions(),
        "git": git_state(PROJECT),
        "device": device_name(pick_device()),
        **{key: evaluation[key] for key in extras.KEYS if key in evaluation},
    }


def _settings(experiment: Experiment) -> dict[str, Any]:
    """The settings as they are recorded, for all to see who read the record."""
    settings = asdict(experiment)
    settings["tracking"]["uri"] = without_password(experiment.tracking.uri)
    return settings


def _names(experiment: Experiment) -> dict[str, str | None]:
    """What tables call the base: no part of a result, so a found record takes today's names."""
    return {"model": experiment.model.name, "published_base": experiment.model.published}
