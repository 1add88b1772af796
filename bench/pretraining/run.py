"""One pretraining run: prepare, train, evaluate, record.

Each step leaves its result in the run's folder before the next begins. A run that is killed resumes
there: training at its last checkpoint, evaluation with the trained model.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import InputError
from bench.files import write_json
from bench.identity import PRETRAIN_VERSION, pretraining_identity
from bench.pretraining import measures, tasks
from bench.pretraining.settings import Pretraining
from bench.runs import auxiliary
from bench.runs.attempt import finished_training
from bench.runs.lifecycle import Outcome, RecordedRun, cached, recorded_settings, run_once
from bench.tracking.record import PRETRAIN, lm_eval_metrics
from bench.tracking.store import Attempt, Store

if TYPE_CHECKING:
    from bench.training.pretrain import Text


@dataclass(frozen=True)
class Prepared:
    """A run before it is trained.

    Attributes:
        run: its settings.
        tokenizer: of the model.
        architecture: the model's configuration.
        model_config: the same as plain data; training adds to the configuration.
        hashes: content hashes of text and tokenizer.
        precision: of the training, resolved for the device.
        identity: of the run.
        folder: results/runs/<id>/.
    """

    run: Pretraining
    tokenizer: Any
    architecture: Any
    model_config: dict[str, Any]
    hashes: dict[str, str]
    precision: str
    identity: str
    folder: Path

    @property
    def recorded(self) -> RecordedRun:
        """The run as it is looked up and recorded."""
        return RecordedRun(
            name=self.run.name,
            identity=self.identity,
            hashes=self.hashes,
            settings=recorded_settings(self.run),
            tracking=self.run.tracking,
            force=self.run.force,
            names={"model": self.run.model.name},
            kind=PRETRAIN,
            complete=partial(tasks.complete, self.run.evaluation),
        )


def pretrain(run: Pretraining, began: float | None = None) -> Outcome:
    """Pretrain a model, unless the same run is cached.

    A finished model that lacks some of the tasks is evaluated on these alone.

    Args:
        run: what to run.
        began: as for `bench.runs.lifecycle.cached`.

    Raises:
        InputError: it can't be run as asked.
        Exception: any other failure; the run is recorded as failed, with the reason.
    """
    prepared = prepare(run)

    def work() -> dict[str, Any]:
        loaded = tasks.load(run.evaluation, prepared.folder)
        text = _read_text(prepared)
        model, training = train(prepared, text)
        training |= measures.evaluate(run, model, text)
        found = _on_tasks(prepared, loaded, model)
        return _record(prepared, training) | found

    check = partial(auxiliary.check_tasks, run.evaluation)
    return run_once(prepared.recorded, work, check, began, partial(_evaluate_further, prepared))


def look_up(
    run: Pretraining, store: Store, began: float | None = None
) -> tuple[Prepared, Outcome | None, Attempt | None]:
    """A run before it is started, as `bench.experiment.look_up`."""
    prepared = prepare(run)
    outcome = cached(prepared.recorded, store, began)
    if outcome:
        return prepared, outcome, None
    auxiliary.check_tasks(run.evaluation)
    return prepared, None, store.attempt(prepared.identity)


def prepare(run: Pretraining) -> Prepared:
    """Check model, tokenizer and text, and compute the run's identity.

    Raises:
        InputError: one of them can't be used, or they do not fit together.
    """
    from bench.models.loading import check_devices, pick_device
    from bench.training.loop import resolve_precision

    device = pick_device()
    check_devices("action.devices", run.train.devices, device)
    cache = run.results / "hashes.json"
    hashes = {"text": run.text.content_hash(cache), "tokenizer": run.model.tokenizer_hash(cache)}
    tokenizer = run.model.load_tokenizer()
    architecture = run.model.config(tokenizer)
    longest = architecture.max_position_embeddings
    if run.train.row_tokens > longest:
        raise InputError(
            f"action.row_tokens={run.train.row_tokens} is more than the {longest} positions of "
            f"model={run.model.name} size={run.model.size}"
        )
    precision = resolve_precision(run.train.precision, device)
    plain = architecture.to_dict()
    name = pretraining_identity(asdict(run), plain, hashes, precision)
    folder = run.results / "runs" / name[:12]
    return Prepared(run, tokenizer, architecture, plain, hashes, precision, name, folder)


def _read_text(prepared: Prepared) -> Text:
    from bench.data.tokens import encoded
    from bench.training.pretrain import Text

    run, tokenizer = prepared.run, prepared.tokenizer
    cache = run.results / "tokens" / "-".join(h[:12] for h in prepared.hashes.values())
    tokens = encoded(run.text.read(), tokenizer, run.train.held_out, cache, run.text.documents)
    return Text(tokens, tokenizer.pad_token_id)


def train(prepared: Prepared, text: Text) -> tuple[Any, dict[str, Any]]:
    """The trained model, or the one that an earlier attempt trained, and its training's record."""
    from bench.models.loading import pick_device
    from bench.models.untrained import build
    from bench.training.flops import FORMULA, flops_a_token, parameter_counts
    from bench.training.pretrain import curvatures, pretrain

    run, model_folder = prepared.run, prepared.folder / "model"
    if training := finished_training(prepared.folder, model_folder / "config.json"):
        return _load(model_folder), training
    layers = measures.initialisations(run, prepared.architecture, prepared.tokenizer, text)
    model = build(prepared.architecture, run.seed).to(pick_device())
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
    _save(model, prepared.tokenizer, model_folder)
    write_json(prepared.folder / "training.json", training)
    return model, training


def _load(folder: Path) -> Any:
    """A saved model on the device, in eval mode."""
    from transformers import AutoModelForCausalLM

    from bench.models.loading import pick_device

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    return model.to(pick_device()).eval()


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save a model; the folder appears only when it is complete."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def _on_tasks(prepared: Prepared, loaded: dict[str, Any], model: Any) -> dict[str, Any]:
    run, tokenizer = prepared.run, prepared.tokenizer
    found = tasks.evaluate(run.evaluation, loaded, model, tokenizer, prepared.folder, run.name)
    return {tasks.KEY: found} if found else {}


def _evaluate_further(prepared: Prepared, store: Store, run_id: str) -> dict[str, Any]:
    """Evaluate a finished model on the tasks that its record lacks; returns the new record.

    Raises:
        InputError: the model no longer exists, or a task's rows can't be loaded.
    """
    model_folder = prepared.folder / "model"
    if not (model_folder / "config.json").is_file():
        raise InputError(
            f"{prepared.run.name} is cached, but can't be evaluated on further tasks: "
            f"{model_folder} no longer exists. force=true pretrains it again"
        )
    loaded = tasks.load(prepared.run.evaluation, prepared.folder)
    found = _on_tasks(prepared, loaded, _load(model_folder))[tasks.KEY]
    record = store.record(run_id)
    record[tasks.KEY] = record.get(tasks.KEY, {}) | found
    write_json(prepared.folder / "record.json", record)
    store.amend(run_id, prepared.folder / "record.json", lm_eval_metrics(found))
    return record


def _record(prepared: Prepared, training: dict[str, Any]) -> dict[str, Any]:
    """What the record says of pretraining; `bench.runs.lifecycle` adds what all runs record."""
    from bench.efficiency.throughput import matmul_rate
    from bench.models.loading import pick_device

    run = prepared.run
    rate = matmul_rate(pick_device(), prepared.precision)
    tokens_per_second = training["tokens"] / training["seconds"]
    return {
        "version": PRETRAIN_VERSION,
        "architecture": run.model.kind,
        "size": run.model.size,
        "seed": run.seed,
        "data": run.text.source,
        "tokenizer": run.model.tokenizer,
        "vocabulary": len(prepared.tokenizer),
        "train": asdict(run.train) | {"precision": prepared.precision},
        "choices": dict(run.model.choices),
        "model_config": prepared.model_config,
        "training": training,
        "tokens_per_second": tokens_per_second,
        "utilisation": tokens_per_second * training["flops_a_token"] / rate,
        "matmul_flops_per_second": rate,
    }
