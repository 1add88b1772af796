"""One pretraining run: prepare, train, evaluate, record; each step leaves its result on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from bench.data.tokens import Tokens, encoded
from bench.efficiency.throughput import matmul_rate
from bench.errors import InputError
from bench.evaluation.lm_eval_bridge import check_tasks, evaluate_tasks, load_tasks
from bench.files import replaced, write_json
from bench.identity import PRETRAIN_VERSION, pretraining_identity
from bench.models.compiled import check_compiler, compiled
from bench.models.loading import check_devices, pick_device
from bench.models.untrained import build
from bench.pretraining import measures, tasks
from bench.pretraining.settings import Pretraining
from bench.runs.attempt import finished_training
from bench.runs.lifecycle import Outcome, PreparedRun, run_once
from bench.tracking.record import PRETRAIN, lm_eval_metrics
from bench.tracking.store import Store
from bench.training.flops import FORMULA, flops_per_token, parameter_counts
from bench.training.loop import resolve_precision
from bench.training.pretrain import curvatures
from bench.training.pretrain import pretrain as train_model


@dataclass(frozen=True)
class Prepared(PreparedRun):
    """A pretraining run before it is trained.

    `model_config` is the architecture as plain data, before training adds to it.
    """

    settings: Pretraining
    tokenizer: Any
    architecture: Any
    model_config: dict[str, Any]
    kind = PRETRAIN

    @property
    def task_folder(self) -> Path:
        """Where the results of lm-eval are."""
        return tasks.results_folder(self.settings.evaluation, self.folder)

    @property
    def names(self) -> dict[str, Any]:
        """What the model is called."""
        return {"model": self.settings.model.name}

    @property
    def facts(self) -> dict[str, Any]:
        """What the record says of the settings."""
        run = self.settings
        return {
            "version": PRETRAIN_VERSION,
            "architecture": run.model.kind,
            "size": run.model.size,
            "seed": run.seed,
            "data": run.text.source,
            "split": run.evaluation.split,
            "tokenizer": run.model.tokenizer,
            "choices": dict(run.model.choices),
        }

    def check(self) -> None:
        """Refuse tasks that lm-eval does not know, and torch.compile without a compiler."""
        if self.settings.evaluation.compile:
            check_compiler("evaluation.compile", pick_device())
        check_tasks(self.settings.evaluation)

    def is_complete(self, record: Mapping[str, Any]) -> bool:
        """Whether a record has all tasks of lm-eval."""
        return tasks.complete(self.settings.evaluation, record)

    def work(self) -> dict[str, Any]:
        """Train, evaluate, and return what the record says of both."""
        loaded = load_tasks(self.settings.evaluation, self.task_folder)
        text = _read_text(self)
        model, training = train(self, text)
        training |= measures.evaluate(self.settings, model, text)
        on_tasks = self._evaluate_tasks(loaded, model)
        results = _results(self, training) | {"text": text.facts()}
        return results | ({tasks.KEY: on_tasks} if on_tasks else {})

    def extend(self, store: Store, run_id: str) -> dict[str, Any]:
        """Evaluate a finished model on the tasks that its record lacks."""
        model_folder = self.folder / "model"
        if not (model_folder / "config.json").is_file():
            raise InputError(
                f"{self.settings.name} is cached, but can't be evaluated on further tasks: "
                f"{model_folder} no longer exists. force=true pretrains it again"
            )
        loaded = load_tasks(self.settings.evaluation, self.task_folder)
        found = self._evaluate_tasks(loaded, _load(model_folder))
        record = store.record(run_id)
        record[tasks.KEY] = record.get(tasks.KEY, {}) | found
        write_json(self.folder / "record.json", record)
        store.amend(run_id, record, lm_eval_metrics(found))
        return record

    def _evaluate_tasks(self, loaded: dict[str, Any], model: Any) -> dict[str, Any]:
        settings, folder = self.settings.evaluation, self.task_folder
        if not settings.lm_eval:
            return {}
        folder.mkdir(exist_ok=True)
        with compiled(model, settings.compile):
            found = evaluate_tasks(
                settings, loaded, model, self.tokenizer, folder, self.settings.name
            )
        asked = tasks.conditions(settings)
        return {name: found[name] | {"asked": asked} for name in settings.lm_eval}


def pretrain(run: Pretraining, began: float | None = None) -> Outcome:
    """Pretrain a model, unless it is cached: see `bench.runs.lifecycle.run_once`."""
    return run_once(prepare(run), began)


def prepare(run: Pretraining) -> Prepared:
    """Check model, tokenizer and text, and compute the run's identity."""
    device = pick_device()
    check_devices("action.devices", run.train.devices, device)
    cache = run.tracking.results / "hashes.json"
    hashes = {"text": run.text.content_hash(cache), "tokenizer": run.model.tokenizer_hash(cache)}
    tokenizer = run.model.load_tokenizer()
    architecture = run.model.config(tokenizer)
    longest = architecture.max_position_embeddings
    if run.train.row_tokens > longest:
        raise InputError(
            f"action.row_tokens={run.train.row_tokens} is more than the {longest} positions of "
            f"model={run.model.name} size={run.model.size}"
        )
    precision, plain = resolve_precision(run.train.precision, device), architecture.to_dict()
    name = pretraining_identity(asdict(run), plain, hashes, precision)
    return Prepared(run, name, hashes, precision, tokenizer, architecture, plain)


def _read_text(prepared: Prepared) -> Tokens:
    run, tokenizer = prepared.settings, prepared.tokenizer
    cache = run.tracking.results / "tokens" / "-".join(h[:12] for h in prepared.hashes.values())
    return encoded(run.text.read(), tokenizer, run.train.shares, cache, run.text.documents)


def train(prepared: Prepared, text: Tokens) -> tuple[Any, dict[str, Any]]:
    """The trained model, or the one that an earlier attempt trained, and its training's record."""
    run, model_folder = prepared.settings, prepared.folder / "model"
    if training := finished_training(prepared.folder, model_folder / "config.json"):
        return _load(model_folder), training
    layers = measures.initialisations(run, prepared.architecture, prepared.tokenizer, text)
    model = build(prepared.architecture, run.seed).to(pick_device())
    training = {
        "parameters": parameter_counts(model),
        "flops_a_token": flops_per_token(model, run.train.row_tokens),
        "flops_formula": FORMULA,
        "initialisations": layers,
        "curvatures_at_start": curvatures(model),
    }
    checkpoint = prepared.folder / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    title = f"{run.name}: pretraining"
    done = train_model(model, text, run.train, run.seed, checkpoint / "last.ckpt", title)
    training |= {
        "steps": run.train.steps,
        "tokens": run.train.steps * run.train.step_tokens,
        "targets": done.targets,
        "passes": done.packer.passes,
        "order": done.order,
        "losses": done.losses,
        "validation": done.validation,
        "curvatures": done.curvatures,
        "seconds": done.seconds,
    }
    with replaced(model_folder) as partial:
        model.save_pretrained(partial)
        prepared.tokenizer.save_pretrained(partial)
    write_json(prepared.folder / "training.json", training)
    return model, training


def _load(folder: Path) -> Any:
    """A saved model on the device, in eval mode."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    return model.to(pick_device()).eval()


def _results(prepared: Prepared, training: dict[str, Any]) -> dict[str, Any]:
    device = pick_device()
    gpus = prepared.settings.train.devices if device.type == "cuda" else 1  # CPU ranks share one
    rate = gpus * matmul_rate(device, prepared.precision)
    tokens_per_second = training["tokens"] / training["seconds"]
    return {
        "vocabulary": len(prepared.tokenizer),
        "model_config": prepared.model_config,
        "training": training,
        "tokens_per_second": tokens_per_second,
        "utilisation": tokens_per_second * training["flops_a_token"] / rate,
        "matmul_flops_per_second": rate,
    }
