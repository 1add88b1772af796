"""Evaluation of a model in memory on lm-eval's tasks.

lm-eval's response cache is not used: its keys do not include the model, so that in a sweep one run
would get the scores of another.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import importlib.util
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.errors import InputError
from bench.evaluation.preserve_state import SEED, preserve_state
from bench.files import read_cache, write_json
from bench.memory import halving
from bench.progress import has_terminal

FILE = "lm_eval.json"
BOOTSTRAP = 1000  # resamples for standard errors without a formula
LESS_MEMORY = "use model.dtype=bfloat16, a smaller base, or fewer evaluation.lm_eval_fewshot"


def check_tasks(names: Sequence[str], include: str | None) -> None:
    """Check the names of tasks before a model is loaded; no rows are read.

    Args:
        names: names of tasks, groups or tags.
        include: a folder with the user's own task files.

    Raises:
        InputError: lm-eval is not installed, or the folder or a task does not exist.
    """
    if not names:
        return
    if importlib.util.find_spec("lm_eval") is None or importlib.util.find_spec("datasets") is None:
        raise InputError(
            "evaluation.lm_eval needs the extra [lm-eval]: "
            ".venv/bin/pip install -c constraints.txt -e '.[lm-eval]'"
        )
    if include is not None and not Path(include).expanduser().is_dir():
        raise InputError(f"evaluation.lm_eval_include={include}: no such folder")
    known = _manager(tuple(names), include).task_index
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise InputError(
                f"unknown lm-eval task '{name}'.{hint} `lm-eval ls tasks` lists all tasks; your "
                "own tasks need evaluation.lm_eval_include=FOLDER with valid task files"
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


def load_tasks(
    names: Iterable[str], include: str | None, fewshot: int | None, folder: Path
) -> dict[str, Any]:
    """Load the tasks, with their rows, that a run's folder has no results of yet.

    Args:
        names: names that passed `check_tasks`.
        include: a folder with the user's own task files.
        fewshot: examples per prompt; None for each task's own number. A task with 0 keeps it: its
            prompt has no place for examples.
        folder: folder of the run.

    Returns:
        lm-eval's loaded tasks by name.

    Raises:
        InputError: a task's rows are not available.
    """
    done = read_results(folder)
    names = [name for name in dict.fromkeys(names) if name not in done]
    if not names:
        return {}
    manager = _manager(tuple(names), include)
    found = {}
    for name in names:
        try:
            with preserve_state():  # a task may shuffle its rows
                found[name] = manager.load([name])
        except Exception as error:  # errors of the task's own code, `datasets` or the hub
            reason = next(iter(str(error).strip().splitlines()), "")
            raise InputError(
                f"evaluation.lm_eval: the rows of {name} can't be loaded "
                f"({type(error).__name__}: {reason}). Most tasks download their rows: load them "
                "once with a network connection and the same HF_HOME; unset HF_HUB_OFFLINE and "
                "HF_DATASETS_OFFLINE for it"
            ) from error
        for task in found[name]["tasks"].values():
            own = task.get_config("num_fewshot")
            if own is None or (fewshot is not None and own != 0):
                task.set_config(key="num_fewshot", value=fewshot or 0)
            task.set_fewshot_seed(seed=SEED)
    return found


def ask(
    model: Any,
    tokenizer: Any,
    loaded: Mapping[str, Any],
    batch_size: int,
    limit: int | None,
    context: int,
    folder: Path,
    title: str = "evaluation",
) -> dict[str, Any]:
    """Evaluate tasks; each result is written before the next task starts.

    Args:
        model: a causal language model, with or without an adapter; its state is preserved.
        tokenizer: its tokenizer.
        loaded: tasks from `load_tasks`.
        batch_size: prompts per batch, or fewer if memory is short.
        limit: maximum number of rows of each task; None for all.
        context: maximum number of tokens of the model; longer prompts are truncated on the left.
        folder: folder of the run; existing results are kept.
        title: title of the progress.

    Returns:
        For each name `lm_eval` (the version), `seconds` and `tasks`: for each task and group its
        `version`, number of rows (`n`), examples (`fewshot`) and `metrics`.
    """
    results = read_results(folder)
    for name, tasks in loaded.items():
        print(f"{title}: lm-eval {name}", flush=True)
        began = time.perf_counter()

        def run(size: int, tasks: Any = tasks) -> dict[str, Any]:
            return _evaluate(model, tokenizer, tasks, size, limit, context)

        found = halving(run, batch_size, f"lm-eval {name}", LESS_MEMORY)
        seconds = time.perf_counter() - began
        results[name] = {"lm_eval": version("lm-eval"), "seconds": seconds, "tasks": _read(found)}
        write_json(folder / FILE, results)
    return results


def read_results(folder: Path) -> dict[str, Any]:
    """The results in a run's folder, by name."""
    return read_cache(folder / FILE) or {}


def _manager(names: tuple[str, ...], include: str | None) -> Any:
    """lm-eval's index of tasks; reading its own 14,000 takes ten seconds, so only if needed."""
    if include is not None and set(names) <= set((own := _index(include, False)).all_subtasks):
        return own
    return _index(include, True)


@cache
def _index(include: str | None, stock: bool) -> Any:
    from lm_eval.tasks import TaskManager

    path = None if include is None else str(Path(include).expanduser().resolve())
    return TaskManager(include_path=path, include_defaults=stock)


def _evaluate(
    model: Any, tokenizer: Any, tasks: Any, batch_size: int, limit: int | None, context: int
) -> Any:
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    class Quiet(HFLM):
        """Without a progress bar if there is no terminal: ten lines a second in a log."""

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return super().loglikelihood(requests, not has_terminal())

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return super().loglikelihood_rolling(requests, not has_terminal())

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return super().generate_until(requests, not has_terminal())

    os.environ.setdefault("DISABLE_MULTIPROC", "1")  # its bootstrap forks once per core
    # It warns that a model in memory is not a path.
    logging.getLogger(HFLM.__module__).setLevel(logging.ERROR)
    with preserve_state(model):
        wrapped = Quiet(
            pretrained=model,
            backend="causal",
            tokenizer=copy.deepcopy(tokenizer),  # the runs of a process share theirs
            batch_size=batch_size,
            max_length=context,
        )
        return evaluate(wrapped, tasks, limit=limit, bootstrap_iters=BOOTSTRAP, log_samples=False)


def _read(found: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of lm-eval's results, and their provenance."""
    tasks = {}
    for task, values in found["results"].items():
        metrics = {}
        for key, value in values.items():
            metric, comma, chosen = key.partition(",")
            if not comma or metric.endswith("_stderr") or not _is_number(value):
                continue
            stderr = values.get(f"{metric}_stderr,{chosen}")
            metrics[metric if chosen == "none" else f"{metric}.{chosen}"] = {
                "value": float(value),
                "stderr": float(stderr) if _is_number(stderr) else None,
            }
        tasks[task] = {
            "version": found["versions"].get(task),
            "n": values.get("sample_len"),
            "fewshot": found["n-shot"].get(task),
            "metrics": metrics,
        }
    return tasks


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, str | bool) and math.isfinite(value)
    except TypeError:
        return False
