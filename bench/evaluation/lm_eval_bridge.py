"""Evaluation of a model in memory on lm-eval's tasks.

lm-eval's response cache is not used: its keys do not include the model, so one run of a sweep would
get the scores of another.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import logging
import math
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import Any

from bench.config import EvaluationSettings
from bench.errors import InputError, did_you_mean, missing_extra, reason
from bench.files import read_cache, write_json
from bench.memory import halving
from bench.models.loading import context_length
from bench.progress import has_terminal

FILE = "lm_eval.json"
PYTHON_SEED, SEED = 0, 1234  # those of lm-eval's own command
BOOTSTRAP = 1000  # resamples for standard errors without a formula
LESS_MEMORY = "use model.dtype=bfloat16, a smaller base, or fewer evaluation.lm_eval_fewshot"


def check_tasks(settings: EvaluationSettings) -> None:
    """Refuse unknown tasks, groups or tags before a model is loaded; no rows are read."""
    names, include = settings.lm_eval, settings.lm_eval_include
    if not names:
        return
    if importlib.util.find_spec("lm_eval") is None or importlib.util.find_spec("datasets") is None:
        raise missing_extra("evaluation.lm_eval", "lm-eval")
    if include is not None and not Path(include).expanduser().is_dir():
        raise InputError(f"evaluation.lm_eval_include={include}: no such folder")
    known = _manager(names, include).task_index
    for name in names:
        if name not in known:
            raise InputError(
                f"unknown lm-eval task '{name}'.{did_you_mean(name, known)} `lm-eval ls tasks` "
                "lists all tasks; your own tasks need evaluation.lm_eval_include=FOLDER with valid "
                "task files"
            )


def include_hash(folder: str) -> str:
    """sha256 over all files below a folder of tasks, which may include their rows and code."""
    root = Path(folder).expanduser()
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{path.relative_to(root).as_posix()}:{content}\n".encode())
    return digest.hexdigest()


def load_tasks(settings: EvaluationSettings, folder: Path) -> dict[str, Any]:
    """Load the tasks without results in a run's folder, with their rows, by name.

    They are loaded before training, since a missing file must not end a run after hours. A task
    whose prompt has no place for examples keeps their number, 0.

    Raises:
        InputError: a task's rows are not available.
    """
    done, found = read_results(folder), {}
    names = [name for name in dict.fromkeys(settings.lm_eval) if name not in done]
    for name in names:
        try:
            with _seeded():  # a task may shuffle its rows
                found[name] = _manager(names, settings.lm_eval_include).load([name])
        except Exception as error:  # errors of the task's own code, `datasets` or the hub
            raise InputError(
                f"evaluation.lm_eval: the rows of {name} can't be loaded ({reason(error)}). "
                "Most tasks download their rows: load them once with a network connection and the "
                "same HF_HOME; unset HF_HUB_OFFLINE and HF_DATASETS_OFFLINE for that"
            ) from error
        for task in found[name]["tasks"].values():
            own, fewshot = task.get_config("num_fewshot"), settings.lm_eval_fewshot
            if own is None or (fewshot is not None and own != 0):
                task.set_config(key="num_fewshot", value=fewshot or 0)
            task.set_fewshot_seed(seed=SEED)
    return found


def evaluate_tasks(
    settings: EvaluationSettings,
    loaded: Mapping[str, Any],
    model: Any,
    tokenizer: Any,
    folder: Path,
    title: str = "evaluation",
    chat: bool = False,
) -> dict[str, Any]:
    """Evaluate tasks; each result is written before the next task starts.

    The model's state is preserved. Prompts longer than its context are truncated on the left.
    Existing results in the run's folder are kept. With `chat` the tokenizer's chat template is
    applied to the prompts.

    Returns:
        For each name `lm_eval` (the version), `seconds` and `tasks`: for each task and group its
        `version`, number of rows (`n`), examples (`fewshot`) and `metrics`.
    """
    results = read_results(folder)
    for name, tasks in loaded.items():
        print(f"{title}: lm-eval {name}", flush=True)
        began = time.perf_counter()
        run = partial(_evaluate, model, tokenizer, tasks, settings.lm_eval_limit, chat)
        found = halving(run, settings.batch_size, f"lm-eval {name}", LESS_MEMORY)
        seconds = time.perf_counter() - began
        results[name] = {"lm_eval": version("lm-eval"), "seconds": seconds, "tasks": _read(found)}
        write_json(folder / FILE, results)
    return results


def read_results(folder: Path) -> dict[str, Any]:
    """The results in a run's folder, by name."""
    return read_cache(folder / FILE) or {}


def _manager(names: list[str], include: str | None) -> Any:
    """lm-eval's index of tasks; reading its own 14,000 takes ten seconds, so only if needed."""
    if include is not None and set(names) <= set((own := _index(include, False)).all_subtasks):
        return own
    return _index(include, True)


@cache
def _index(include: str | None, stock: bool) -> Any:
    from lm_eval.tasks import TaskManager

    path = None if include is None else str(Path(include).expanduser().resolve())
    return TaskManager(include_path=path, include_defaults=stock)


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed the generators of Python, numpy and torch, and restore their states afterwards."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(PYTHON_SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _evaluate(
    model: Any, tokenizer: Any, tasks: Any, limit: int | None, chat: bool, batch_size: int
) -> Any:
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    os.environ.setdefault("DISABLE_MULTIPROC", "1")  # its bootstrap forks once per core
    # It warns that a model in memory is not a path.
    logging.getLogger(HFLM.__module__).setLevel(logging.ERROR)
    modes = {module: module.training for module in model.modules()}
    try:
        wrapped = HFLM(
            pretrained=model,
            backend="causal",
            tokenizer=copy.deepcopy(tokenizer),  # the runs of a process share theirs
            batch_size=batch_size,
            max_length=context_length(model),
        )
        for kind in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
            # Without a terminal its progress bar would be ten lines a second in a log.
            quiet = partial(getattr(wrapped, kind), disable_tqdm=not has_terminal())
            setattr(wrapped, kind, quiet)
        with _seeded():
            return evaluate(
                wrapped,
                tasks,
                limit=limit,
                bootstrap_iters=BOOTSTRAP,
                log_samples=False,
                apply_chat_template=chat,
            )
    finally:
        for module, training in modes.items():
            module.training = training


def _read(found: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of lm-eval's results, and their provenance."""
    tasks = {}
    for task, values in found["results"].items():
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, Real)}
        metrics = {}
        for key, value in numbers.items():
            metric, comma, chosen = key.partition(",")
            if comma and not metric.endswith("_stderr") and math.isfinite(value):
                stderr = numbers.get(f"{metric}_stderr,{chosen}", math.nan)
                metrics[metric if chosen == "none" else f"{metric}.{chosen}"] = {
                    "value": value,
                    "stderr": stderr if math.isfinite(stderr) else None,
                }
        tasks[task] = {
            "version": found["versions"].get(task),
            "n": values.get("sample_len"),
            "fewshot": found["n-shot"].get(task),
            "metrics": metrics,
        }
    return tasks
