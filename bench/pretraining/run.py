"""What one pretraining run is: prepare, pretrain, measure, record.

Each part leaves its result in the run's folder before the next begins, so a run that is killed
anywhere goes on where it was: training from its last checkpoint, and what comes after with the
finished model.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench import extras
from bench.attempt import attempt
from bench.config import PROJECT
from bench.errors import InputError
from bench.experiment import Outcome
from bench.files import empty_run, write_json
from bench.pretraining import tasks
from bench.pretraining.measures import initialisations, measured
from bench.pretraining.settings import PRETRAIN_VERSION, Pretraining, identity
from bench.tracking.backend import without_password
from bench.tracking.record import PRETRAIN, lm_eval_metrics, params
from bench.tracking.store import Attempt, Store


@dataclass(frozen=True)
class Prepared:
    """What is known of a run before it is trained; `folder` is results/runs/<id>/."""

    tokenizer: Any
    architecture: Any
    hashes: dict[str, str]
    precision: str
    identity: str
    folder: Path


def open_store(run: Pretraining) -> Store:
    """The tracking store that a run is recorded in."""
    return Store(run.results, run.tracking.uri, run.tracking.experiment)


def prepare(run: Pretraining) -> Prepared:
    """Check model, tokenizer and text, and compute the run's identity.

    Raises:
        InputError: something that was asked for can't be had, or does not go together.
    """
    from bench.models.loading import check_devices, pick_device
    from bench.training.loop import resolve_precision

    device = pick_device()
    check_devices("action.devices", run.train.devices, device)
    extras.check(run.evaluation)
    cache = run.results / "hashes.json"
    hashes = {
        "text": run.text.content_hash(cache),
        "tokenizer": run.model.tokenizer_hash(cache),
    }
    tokenizer = run.model.load_tokenizer()
    architecture = run.model.config(tokenizer)
    longest = architecture.max_position_embeddings
    if run.train.row_tokens > longest:
        raise InputError(
            f"action.row_tokens={run.train.row_tokens} is more than the {longest} positions of "
            f"model={run.model.name} size={run.model.size}"
        )
    precision = resolve_precision(run.train.precision, device)
    name = identity(run, architecture.to_dict(), hashes, precision)
    folder = run.results / "runs" / name[:12]
    return Prepared(tokenizer, architecture, hashes, precision, name, folder)


def look_up(
    run: Pretraining, store: Store, began: float | None = None
) -> tuple[Prepared, Outcome | None, Attempt | None]:
    """What is known of a run before it is started: as `bench.experiment.look_up`."""
    prepared = prepare(run)
    done = _on_record(run, prepared, store, began)
    return prepared, done, None if done else store.attempt(prepared.identity)


def pretrain(run: Pretraining, began: float | None = None) -> Outcome:
    """Pretrain and record, or find the finished run that is the same.

    A finished one that was not asked all of the tasks is asked the others.

    Args:
        run: what to run.
        began: as for `bench.experiment.run`.

    Raises:
        InputError: what was asked for can't be done.
        Exception: whatever went wrong on the way; the run is on record as failed, with the reason.
    """
    prepared, store = prepare(run), open_store(run)
    done = _on_record(run, prepared, store, began)
    if done:
        return done
    prepared.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(prepared.folder / "lock"):
        # A second process with the same run waited at the lock, and finds it finished.
        done = _on_record(run, prepared, store, began)
        if done:
            return done
        if run_id := _finished(run, prepared, store, began):
            return _ask_further(run, prepared, store, run_id)
        if run.force and (prepared.folder / "record.json").exists():
            empty_run(prepared.folder)
        told = f"{run.name} {prepared.identity[:6]}"
        settings = params(_settings(run))
        parent = run.tracking.parent
        run_id = store.start(prepared.identity, told, settings, parent, kind=PRETRAIN)
        with attempt(store, run_id, prepared.folder):
            found, asked = _train_and_measure(run, prepared)
            record = _record(run, prepared, run_id, found)
            record |= {tasks.KEY: asked} if asked else {}
            write_json(prepared.folder / "record.json", record)
            store.finish(run_id, record, prepared.folder)
        return Outcome(run.name, False, record, prepared.folder)


def _on_record(
    run: Pretraining, prepared: Prepared, store: Store, began: float | None
) -> Outcome | None:
    """The finished run that is the same and lacks no task."""
    run_id = _finished(run, prepared, store, began)
    if run_id is None:
        return None
    record = store.record(run_id) | {"model": run.model.name}
    if tasks.left_to_ask(run.evaluation, record):
        return None
    return Outcome(run.name, True, record, prepared.folder)


def _finished(
    run: Pretraining, prepared: Prepared, store: Store, began: float | None
) -> str | None:
    """The finished run that is the same; under `force` only one that finished after `began`."""
    since = began if run.force else 0.0
    return None if since is None else store.finished(prepared.identity, since)


def _ask_further(run: Pretraining, prepared: Prepared, store: Store, run_id: str) -> Outcome:
    """Ask a finished model tasks that its record lacks, and add them to it.

    Raises:
        InputError: the model is no longer there, or a task's rows can't be had.
    """
    model_folder = prepared.folder / "model"
    if not (model_folder / "config.json").is_file():
        raise InputError(
            f"{run.name} is on record, but its model can't be asked tasks: {model_folder} is gone. "
            "force=true pretrains it again"
        )
    loaded = tasks.loaded(run.evaluation, prepared.folder)
    asked = _asked(run, prepared, loaded, _load(model_folder))
    record = store.record(run_id)
    record[tasks.KEY] = record.get(tasks.KEY, {}) | asked
    write_json(prepared.folder / "record.json", record)
    store.amend(run_id, prepared.folder / "record.json", lm_eval_metrics(asked))
    # Found: what takes time was done before.
    return Outcome(run.name, True, record | {"model": run.model.name}, prepared.folder)


def _asked(
    run: Pretraining, prepared: Prepared, loaded: dict[str, Any], model: Any
) -> dict[str, Any]:
    return tasks.ask(run.evaluation, loaded, model, prepared.tokenizer, prepared.folder, run.name)


def _load(folder: Path) -> Any:
    """A saved model on the device, in eval mode."""
    from transformers import AutoModelForCausalLM

    from bench.models.loading import pick_device

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    return model.to(pick_device()).eval()


def _train_and_measure(
    run: Pretraining, prepared: Prepared
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train, save the model, measure it and ask it the tasks: what it did, and what it answered."""
    from bench.data.tokens import encoded
    from bench.models.loading import pick_device
    from bench.models.untrained import build
    from bench.training.flops import FORMULA, flops_a_token, parameter_counts
    from bench.training.pretrain import Text, curvatures, pretrain

    tokenizer, device = prepared.tokenizer, pick_device()
    loaded = tasks.loaded(run.evaluation, prepared.folder)  # what can't be had ends it here
    cached = run.results / "tokens" / "-".join(h[:12] for h in prepared.hashes.values())
    tokens = encoded(run.text.read(), tokenizer, run.train.held_out, cached, run.text.documents)
    text = Text(tokens, tokenizer.pad_token_id)
    model_folder, facts = prepared.folder / "model", prepared.folder / "training.json"
    training = _trained_before(model_folder, facts)
    if training is not None:  # killed while it was measured
        model = _load(model_folder)
    else:
        layers = initialisations(run, prepared.architecture, prepared.tokenizer, text)
        model = build(prepared.architecture, run.seed).to(device)
        training = {
            "parameters": parameter_counts(model),
            "flops_a_token": flops_a_token(model, run.train.row_tokens),
            "flops_formula": FORMULA,
            "initialisations": layers,
            "curvatures_at_start": curvatures(model),
        }
        checkpoint = prepared.folder / "checkpoint"
        checkpoint.mkdir(exist_ok=True)
        title = f"{run.name}: pretraining"
        done = pretrain(model, text, run.train, run.seed, checkpoint / "last.ckpt", title)
        training |= {
            "steps": run.train.steps,
            "tokens": run.train.steps * run.train.step_tokens,
            "targets": done.targets,
            "passes": done.packer.passes,
            "order": done.order.hex(),
            "losses": done.losses,
            "held_out": done.held_out,
            "curvatures": done.curvatures,
            "seconds": done.seconds,
        }
        _save(model, tokenizer, model_folder)
        write_json(facts, training)
    found = training | measured(run, model, text)
    return found, _asked(run, prepared, loaded, model) if run.evaluation.lm_eval else {}


def _trained_before(model: Path, facts: Path) -> dict[str, Any] | None:
    """What training did, where it ended and the model is there."""
    if not (facts.is_file() and (model / "config.json").is_file()):
        return None
    try:
        return json.loads(facts.read_text(encoding="utf-8"))
    except ValueError:
        return None  # it is made again, with the model


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save a model whole or not at all."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def _record(
    run: Pretraining, prepared: Prepared, run_id: str, found: dict[str, Any]
) -> dict[str, Any]:
    from bench.efficiency.throughput import matmul_rate
    from bench.models.loading import pick_device
    from bench.tracking.provenance import device_name, git_state, package_versions

    device = pick_device()
    rate = matmul_rate(device, prepared.precision)
    pace = found["tokens"] / found["seconds"]
    return {
        "kind": PRETRAIN,
        "identity": prepared.identity,
        "version": PRETRAIN_VERSION,
        "run_id": run_id,
        "model": run.model.name,
        "architecture": run.model.kind,
        "size": run.model.size,
        "seed": run.seed,
        "data": run.text.source,
        "tokenizer": run.model.tokenizer,
        "vocabulary": len(prepared.tokenizer),
        "train": asdict(run.train) | {"precision": prepared.precision},
        "choices": dict(run.model.choices),
        "training": found,
        "tokens_per_second": pace,
        "utilisation": pace * found["flops_a_token"] / rate,
        "matmul_flops_per_second": rate,
        "config": _settings(run),
        "hashes": prepared.hashes,
        "versions": package_versions(),
        "git": git_state(PROJECT),
        "device": device_name(device),
    }


def _settings(run: Pretraining) -> dict[str, Any]:
    """The settings as they are recorded, for all to see who read the record."""
    settings = asdict(run)
    settings["tracking"]["uri"] = without_password(run.tracking.uri)
    return settings
