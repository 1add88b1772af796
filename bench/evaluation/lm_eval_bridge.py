"""lm-eval's own tasks, asked of a model in memory: names checked first, rows loaded, then asked.

lm-eval's cache of responses stays off: it is not keyed by the model, so that in a sweep one run
would be scored by what another wrote.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import importlib.util
import json
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import InputError
from bench.evaluation.as_found import SEED, left_as_found
from bench.files import write_json
from bench.memory import halving
from bench.progress import has_terminal

FILE = "lm_eval.json"
BOOTSTRAP = 1000  # resamples behind the standard errors that no formula gives
LESS_MEMORY = "take model.dtype=bfloat16, a smaller base, or fewer evaluation.lm_eval_fewshot"


def check_tasks(names: Sequence[str], include: str | None) -> None:
    """Refuse what can't be asked, before a model is loaded; no task's rows are read.

    Args:
        names: of tasks, groups or tags.
        include: a folder with task files of one's own.

    Raises:
        InputError: lm-eval is not installed, there is no such folder, or no task of that name.
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
                f"unknown lm-eval task '{name}'.{hint} `lm-eval ls tasks` lists them all; one of "
                "your own needs evaluation.lm_eval_include=FOLDER, and a file there that lm-eval "
                "can read"
            )


def include_hash(folder: str) -> str:
    """sha256 over all files below a folder of tasks: their rows and code may lie beside them."""
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
    """The tasks whose results a run's folder does not have yet, with their rows.

    Args:
        names: as `check_tasks` found them good.
        include: a folder with task files of one's own.
        fewshot: examples in a prompt; None for each task's own number. A task that says 0 keeps it:
            its prompt has no place for examples.
        folder: of the run.

    Returns:
        What lm-eval makes of each name.

    Raises:
        InputError: a task's rows can't be had.
    """
    done = read_results(folder)
    names = [name for name in dict.fromkeys(names) if name not in done]
    if not names:
        return {}
    manager = _manager(tuple(names), include)
    found = {}
    for name in names:
        try:
            with left_as_found():  # a task may shuffle its rows
                found[name] = manager.load([name])
        except Exception as error:  # whatever the task's own code, `datasets` or the hub raise
            told = str(error).strip().splitlines() or [""]
            raise InputError(
                f"evaluation.lm_eval: the rows of {name} can't be had "
                f"({type(error).__name__}: {told[0]}). Most tasks download theirs: load them once "
                "where there is a network, with the same HF_HOME, and unset HF_HUB_OFFLINE and "
                "HF_DATASETS_OFFLINE there"
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
    """Ask tasks and write what came of each down before the next begins.

    Args:
        model: a causal language model, with or without an adapter; it is left as it was.
        tokenizer: its tokenizer.
        loaded: of `load_tasks`.
        batch_size: prompts at once, or fewer where memory is short.
        limit: at most so many rows of each task; None for all.
        context: the most tokens that the model takes; longer prompts lose their beginning.
        folder: of the run; results found there are kept.
        title: what the progress is told under.

    Returns:
        For each name `lm_eval` (the version), `seconds` and `tasks`: of each task and group its
        `version`, rows (`n`), examples (`fewshot`) and `metrics`.
    """
    results = read_results(folder)
    for name, tasks in loaded.items():
        print(f"{title}: lm-eval {name}", flush=True)
        began = time.perf_counter()

        def attempt(size: int, tasks: Any = tasks) -> dict[str, Any]:
            return _evaluate(model, tokenizer, tasks, size, limit, context)

        found = halving(attempt, batch_size, f"lm-eval {name}", LESS_MEMORY)
        seconds = time.perf_counter() - began
        results[name] = {"lm_eval": _version(), "seconds": seconds, "tasks": _read(found)}
        write_json(folder / FILE, results)
    return results


def read_results(folder: Path) -> dict[str, Any]:
    """What `ask` has written into a run's folder so far, by name."""
    path = folder / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _manager(names: tuple[str, ...], include: str | None) -> Any:
    """lm-eval's index of tasks; its own 14,000 take ten seconds and are read only if needed."""
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
        """Draws no bar where there is no terminal for one: ten lines a second in a log."""

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return super().loglikelihood(requests, not has_terminal())

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return super().loglikelihood_rolling(requests, not has_terminal())

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return super().generate_until(requests, not has_terminal())

    # Its bootstrap would fork this process once for each core.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    # It warns that a model in memory is no path.
    logging.getLogger(HFLM.__module__).setLevel(logging.ERROR)
    with left_as_found(model):
        asked = Quiet(
            pretrained=model,
            backend="causal",
            tokenizer=copy.deepcopy(tokenizer),  # the runs of a process share theirs
            batch_size=batch_size,
            max_length=context,
        )
        return evaluate(asked, tasks, limit=limit, bootstrap_iters=BOOTSTRAP, log_samples=False)


def _read(found: Mapping[str, Any]) -> dict[str, Any]:
    """lm-eval's results, of which the record keeps numbers and where they come from."""
    tasks = {}
    for task, values in found["results"].items():
        metrics = {}
        for key, value in values.items():
            metric, comma, chosen = key.partition(",")
            if not comma or metric.endswith("_stderr") or not _is_number(value):
                continue
            stderr = values.get(f"{metric}_stderr,{chosen}")
            name = metric if chosen == "none" else f"{metric}.{chosen}"
            metrics[name] = {
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


def _version() -> str:
    from importlib.metadata import version

    return version("lm-eval")
