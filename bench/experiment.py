"""One fine-tuning run: prepare, train, evaluate, record; each step leaves its result on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.config import Experiment
from bench.data.chat import has_template, no_template
from bench.data.known_files import compare
from bench.data.overlap import Overlap, resolve_overlap
from bench.data.problems import ProblemSets
from bench.data.prompts import CHAT
from bench.data.sources import load_problems
from bench.errors import InputError
from bench.files import read_cache
from bench.identity import RESULT_VERSION, identity
from bench.models.settings import check_folder, content_hash, folder_hash
from bench.runs.lifecycle import Outcome, PreparedRun, run_once

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared(PreparedRun):
    """A fine-tuning run before it is trained.

    Attributes:
        settings: the experiment, with the options that a saved adapter was trained with.
        dtype: of the base's weights, resolved for the device.
        problems: all rows; training rows without those that overlap, unless they are kept.
        overlap: of training and test rows; None if nothing is trained.
        watch: called with (step, validation loss) after each validation; may raise `Pruned`.
    """

    settings: Experiment
    dtype: str
    problems: ProblemSets
    overlap: Overlap | None
    watch: Callable[[int, float], None] | None = None

    @property
    def names(self) -> dict[str, Any]:
        """The names of the base."""
        return {"model": self.settings.model.name, "published_base": self.settings.model.published}

    @property
    def facts(self) -> dict[str, Any]:
        """What the record says about the settings."""
        run = self.settings
        return {
            "result_version": RESULT_VERSION,
            "method": run.method.name,
            "curvature": run.method.curvature,
            "options": run.method.options,
            "seed": run.seed if run.trained else None,
            "data": run.data.source,
            "split": run.evaluation.split,
            "protocol": run.protocol.name,
        }

    def check(self) -> None:
        """Refuse what the method or lm-eval would refuse later."""
        from bench.evaluation.lm_eval_bridge import check_tasks
        from bench.models.compiled import check_compiler
        from bench.models.loading import pick_device
        from bench.training.activations import check_checkpointing
        from bench.training.adapters import check_options

        run = self.settings
        folder = run.model.folder
        if run.protocol.template == CHAT and folder and not has_template(folder):
            raise no_template(run.model.path)
        config = check_options(run.method.module, run.method.options)
        if run.trained and run.train.gradient_checkpointing:
            check_checkpointing(config)
        if run.sharded and run.model.quantization:
            raise InputError(
                "train.sharded=true can't shard quantised weights: give model.quantization=null "
                "or train.sharded=false"
            )
        for key, asked in (
            ("train.compile", run.trained and run.train.compile),
            ("evaluation.compile", run.evaluation.compile),
        ):
            if asked:
                check_compiler(key, pick_device())
        check_tasks(run.evaluation)

    def work(self) -> dict[str, Any]:
        """Train, evaluate, and return what the record says of both."""
        from bench.evaluation.lm_eval_bridge import load_tasks
        from bench.models.compiled import compiled
        from bench.runs import auxiliary
        from bench.runs.finetuning import evaluate, train

        run, base_hash = self.settings, self.hashes["base"]
        tasks = load_tasks(run.evaluation, self.folder)
        model, tokenizer, training = train(run, self.problems, self.folder, base_hash, self.watch)
        with compiled(model, run.evaluation.compile):
            evaluation = evaluate(run, self.problems, self.folder, model, tokenizer)
            others = auxiliary.evaluate(run, tasks, self.folder, base_hash, model, tokenizer)
        return _results(self, model, training, evaluation) | others


def run(
    experiment: Experiment,
    began: float | None = None,
    watch: Callable[[int, float], None] | None = None,
) -> Outcome:
    """Run an experiment, unless it is cached: see `bench.runs.lifecycle.run_once`."""
    return run_once(replace(prepare(experiment), watch=watch), began)


def prepare(experiment: Experiment) -> Prepared:
    """Read the rows, check base and adapter, and compute the run's identity.

    Raises:
        InputError: base, adapter or rows can't be used.
    """
    adapter = Path(experiment.adapter).expanduser() if experiment.adapter is not None else None
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
    problems.split(experiment.evaluation.split)  # refuses rows that cannot be scored
    cache = experiment.tracking.results / "hashes.json"
    hashes = {"base": content_hash(experiment.model, cache), "tests": problems.test_hash}
    if experiment.trained:
        hashes["train"] = problems.train_hash
    if adapter:
        hashes["adapter"] = folder_hash(adapter)
        _warn_of_another_base(adapter, hashes["base"])

    # What was refused so far was refused at once; these imports take seconds.
    from bench.models.loading import check_devices, pick_device, weight_dtype
    from bench.runs.auxiliary import content_hashes
    from bench.training.loop import resolve_precision

    hashes |= content_hashes(experiment)
    device = pick_device()
    if experiment.trained:
        check_devices("train.devices", experiment.train.devices, device)
    precision = resolve_precision(experiment.train.precision, device)
    dtype = str(weight_dtype(experiment.model.dtype, device))
    name = identity(asdict(experiment), hashes, precision, dtype)
    return Prepared(experiment, name, hashes, precision, dtype, problems, overlap)


def _warn_of_another_base(adapter: Path, base: str) -> None:
    """Warn if the record of an adapter, of its run or exported with it, names another base."""
    for path in (adapter / "record.json", adapter.parent / "record.json"):
        try:
            trained_on = (read_cache(path) or {})["hashes"]["base"]
            comparable = ("@" in trained_on) == ("@" in base)  # both of the hub, or both folders
        except (KeyError, TypeError):
            continue
        if comparable and trained_on != base:
            _log.warning(
                "adapter=%s was trained on a different base than model.path: %s names %s, this is "
                "%s",
                *(adapter, path, trained_on, base),
            )
        return


def _results(
    prepared: Prepared, model: Any, training: dict[str, Any], evaluation: dict[str, Any]
) -> dict[str, Any]:
    return {
        "dtype": prepared.dtype,
        "scores": evaluation["scores"],
        "averages": evaluation["averages"],
        "nll": evaluation["nll"],
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
        "files": prepared.problems.files,
        "data_files": compare(prepared.problems.files),
        "base_commit": getattr(model, "commit", None),
    }
