"""One fine-tuning run: prepare, train, evaluate, record.

Each step leaves its result in the run's folder before the next begins. A run that is killed resumes
there: training at its last checkpoint, evaluation after its last prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.config import Experiment
from bench.data.known_files import compare
from bench.data.overlap import Overlap, resolve_overlap
from bench.data.problems import ProblemSets
from bench.data.sources import load_problems
from bench.errors import InputError
from bench.identity import RESULT_VERSION, identity
from bench.models.settings import check_folder, content_hash, folder_hash
from bench.runs import auxiliary
from bench.runs.lifecycle import Outcome, RecordedRun, cached, recorded_settings, run_once
from bench.tracking.store import Attempt, Store


@dataclass(frozen=True)
class Prepared:
    """A run before it is trained: its rows, and what its identity is computed from.

    Attributes:
        experiment: with the options that a saved adapter was trained with.
        problems: all rows; training rows without those that overlap, unless they are kept.
        overlap: of training and test rows; None if nothing is trained.
        hashes: content hashes by name.
        precision: of the training, resolved for the device.
        dtype: of the base's weights, likewise.
        identity: of the run.
        folder: results/runs/<id>/.
    """

    experiment: Experiment
    problems: ProblemSets
    overlap: Overlap | None
    hashes: dict[str, str]
    precision: str
    dtype: str
    identity: str
    folder: Path

    @property
    def recorded(self) -> RecordedRun:
        """The run as it is looked up and recorded."""
        run, model = self.experiment, self.experiment.model
        return RecordedRun(
            name=run.name,
            identity=self.identity,
            hashes=self.hashes,
            settings=recorded_settings(run),
            tracking=run.tracking,
            force=run.force,
            names={"model": model.name, "published_base": model.published},
        )


def run(
    experiment: Experiment,
    began: float | None = None,
    watch: Callable[[int, float], None] | None = None,
) -> Outcome:
    """Run an experiment, unless the same run is cached.

    Args:
        experiment: what to run.
        began: as for `bench.runs.lifecycle.cached`.
        watch: called with (step, validation loss) after each validation; may raise `Pruned`.

    Raises:
        InputError: it can't be run as asked.
        Exception: any other failure; the run is recorded as failed, with the reason.
    """
    prepared = prepare(experiment)

    def work() -> dict[str, Any]:
        from bench.runs.finetuning import evaluate, train

        of_run = (prepared.experiment, prepared.problems, prepared.folder)
        base_hash = prepared.hashes["base"]
        tasks = auxiliary.load_tasks(experiment.evaluation, prepared.folder)
        model, tokenizer, training = train(*of_run, base_hash, watch)
        evaluation = evaluate(*of_run, model, tokenizer)
        evaluation |= auxiliary.evaluate(
            experiment, base_hash, prepared.folder, model, tokenizer, tasks
        )
        return _record(prepared, model, training, evaluation)

    return run_once(prepared.recorded, work, lambda: _check(prepared.experiment), began)


def look_up(
    experiment: Experiment, store: Store, began: float | None = None
) -> tuple[Prepared, Outcome | None, Attempt | None]:
    """A run before it is started; nothing is trained or written.

    Returns:
        The prepared run; its outcome if it is cached; else its last attempt, if there was one.

    Raises:
        InputError: it can't be run as asked.
    """
    prepared = prepare(experiment)
    outcome = cached(prepared.recorded, store, began)
    if outcome:
        return prepared, outcome, None
    _check(prepared.experiment)
    return prepared, None, store.attempt(prepared.identity)


def prepare(experiment: Experiment) -> Prepared:
    """Read the rows, check base and adapter, and compute the run's identity.

    Raises:
        InputError: base, adapter or rows can't be used.
    """
    adapter = Path(experiment.adapter).expanduser() if experiment.adapter else None
    if adapter:
        from bench.training.adapters import saved_options

        method = experiment.method
        options = saved_options(adapter, method.module, method.options)
        experiment = replace(experiment, method=replace(method, options=options))
    check_folder(experiment.model)
    problems, overlap = load_problems(experiment.data, experiment.trained), None
    if experiment.trained:
        problems, overlap = resolve_overlap(problems, experiment.keeps_overlap)
        if not problems.train:
            raise InputError(
                "every training row is also a test row; data.keep_overlap=true trains on them"
            )
    cache = experiment.results / "hashes.json"
    hashes = {"base": content_hash(experiment.model, cache), "tests": problems.test_hash}
    if experiment.trained:
        hashes["train"] = problems.train_hash
    if adapter:
        hashes["adapter"] = folder_hash(adapter)
    hashes |= auxiliary.content_hashes(experiment)

    from bench.models.loading import check_devices, pick_device, weight_dtype
    from bench.training.loop import resolve_precision

    device = pick_device()
    if experiment.trained:
        check_devices("train.devices", experiment.train.devices, device)
    precision = resolve_precision(experiment.train.precision, device)
    dtype = str(weight_dtype(experiment.model.dtype, device))
    name = identity(asdict(experiment), hashes, precision, dtype)
    folder = experiment.results / "runs" / name[:12]
    return Prepared(experiment, problems, overlap, hashes, precision, dtype, name, folder)


def _check(experiment: Experiment) -> None:
    """Refuse, before a model is loaded, what the method or lm-eval would refuse later."""
    from bench.training.activations import check_checkpointing
    from bench.training.adapters import check_options

    config = check_options(experiment.method.module, experiment.method.options)
    if experiment.trained and experiment.train.gradient_checkpointing:
        check_checkpointing(config)
    auxiliary.check_tasks(experiment.evaluation)


def _record(
    prepared: Prepared, model: Any, training: dict[str, Any], evaluation: dict[str, Any]
) -> dict[str, Any]:
    """What the record says of fine-tuning; `bench.runs.lifecycle` adds what all runs record."""
    run, problems = prepared.experiment, prepared.problems
    return {
        "result_version": RESULT_VERSION,
        "method": run.method.name,
        "curvature": run.method.curvature,
        "options": run.method.options,
        "seed": run.seed if run.trained else None,
        "data": run.data.source,
        "split": run.evaluation.split,
        "protocol": run.protocol.name,
        "train": asdict(run.train) | {"precision": prepared.precision},
        "dtype": prepared.dtype,
        "scores": evaluation["scores"],
        "averages": evaluation["averages"],
        "parameters": training["parameters"],
        "seconds": {"finetune": training.get("seconds"), "evaluate": evaluation["seconds"]},
        "rows": {
            "train": training.get("rows", 0),
            "train_too_long": training.get("too_long", 0),
            "train_cut": training.get("cut", 0),
            "train_without_output": problems.without_output,
            "validation": training.get("validation_rows", 0),
            "validation_too_long": training.get("validation_too_long", 0),
        },
        "training": training,
        "overlap": asdict(prepared.overlap) if prepared.overlap else None,
        "files": problems.files,
        "data_files": compare(problems.files),
        "base_commit": getattr(model, "commit", None),
        **{key: evaluation[key] for key in auxiliary.KEYS if key in evaluation},
    }
