"""Files in LLM-Adapters' layout: ft-training_set/NAME.json and dataset/NAME/test.json."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench import tasks
from bench.data.hub import hub_folder
from bench.data.problems import DataSettings, Problem
from bench.errors import InputError, unknown

_log = logging.getLogger(__name__)


def read_training(
    settings: DataSettings, name: str, files: dict[str, str]
) -> tuple[list[Problem], int]:
    """The rows of a training set, and how many were left out.

    A name is sought as ft-training_set/NAME.json, then dataset/NAME/train.json, then
    dataset/NAME/trainset.json, then, for GSM8K, as the file that `data.gsm8k` names.

    Rows with an empty output, of which LLM-Adapters' own files have a few, teach nothing: they
    are left out, with a warning that says how many.

    Args:
        settings: `root` or `hub`, and `gsm8k`, are used.
        name: of the set; the case of a folder's letters does not matter.
        files: takes the sha256 of the file read, by its name.

    Raises:
        InputError: no such file (all places sought are named), a row that can't be read, or
            nothing but empty outputs.
    """
    _check_name("training set", name)
    task = tasks.find(name)
    root = _root(
        settings,
        f"ft-training_set/{name}.json",
        *(f"dataset/{key}/train*.json" for key in {name, task.key if task else name}),
    )
    sought = [
        _ignoring_case(root / "ft-training_set", f"{name}.json"),
        *(
            _ignoring_case(root / "dataset", name) / file
            for file in ("train.json", "trainset.json")
        ),
    ]
    if task is not None and task.key == "gsm8k" and settings.gsm8k:
        sought.append(Path(settings.gsm8k).expanduser())
    path = next((path for path in sought if path.is_file()), None)
    if path is None:
        hint = ", or name GSM8K's own file with data.gsm8k=PATH" if name.lower() == "gsm8k" else ""
        raise InputError(
            f"no training set '{name}'. Sought: {', '.join(map(str, sought))}. "
            f"Put the file there{hint}. {_names_there(root)}"
        )
    convert = task.train_row if task else tasks.training_row
    rows = _problems(path, root, task.key if task else name, convert, files)
    problems = [row for row in rows if row.output.strip()]
    if not problems:
        raise InputError(f"{path}: the output of every row is empty; there is nothing to learn")
    if len(problems) < len(rows):
        _log.warning("%s: rows with an empty output left out: %d", path, len(rows) - len(problems))
    return problems, len(rows) - len(problems)


def read_test(
    settings: DataSettings, name: str, files: dict[str, str]
) -> tuple[str, list[Problem]]:
    """A benchmark's key and its test rows, from dataset/NAME/test.json.

    Any set whose gold answers are all numbers, all letters A to E, or all words of one line of
    `tasks.CHOICES`, can be scored, also one that has no file in bench/tasks/.

    Raises:
        InputError: no such file, no rows, a row that can't be read, or an answer that is not of
            the set's kind.
    """
    _check_name("test set", name)
    task = tasks.find(name)
    root = _root(settings, f"dataset/{task.key if task else name}/test.json")
    path = _ignoring_case(root / "dataset", task.key if task else name) / "test.json"
    if not path.is_file():
        there = sorted(p.parent.name for p in (root / "dataset").glob("*/test.json"))
        raise InputError(f"{unknown('test set', name, there)} Sought: {path}.")
    key = task.key if task else path.parent.name
    problems = _problems(path, root, key, tasks.same_row, files)
    _check_answers(path, task, [problem.answer for problem in problems])
    return key, problems


def _check_answers(path: Path, task: tasks.Task | None, answers: list[str]) -> None:
    """Refuse a test file that has an answer of another kind than its task's or its first row's."""
    known = task or tasks.describe(path.parent.name, answers[0])
    row = next((row for row, answer in enumerate(answers) if not known.accepts(answer)), None)
    if row is None:
        return
    told = f"{path}, row {row}: the answer {answers[row]!r} is not "
    if task:
        raise InputError(f"{told}{task.answers}; the answers of {task.key} are {task.answer}s")
    lines = "; ".join(", ".join(line) for line in tasks.CHOICES)
    wanted = "a number, a letter A to E or a choice" if row == 0 else known.answers
    raise InputError(
        f"{told}{wanted}; a set without a file in bench/tasks/ can be scored if its answers are "
        f"all numbers, all letters A to E, or all of one of these: {lines}"
    )


def _root(settings: DataSettings, *files: str) -> Path:
    """The folder of the layout; from the hub with these files of it, as patterns."""
    if settings.hub:
        return hub_folder(settings.hub, settings.revision, tuple(sorted(files)))
    if not settings.root:
        raise InputError(
            "data=llm_adapters needs data.root=PATH, the folder of LLM-Adapters that holds "
            "ft-training_set/ and dataset/ (a checkout of it will do); none of these files comes "
            "with this project. With make: ARGS=data.root=PATH. Or data.hub=OWNER/NAME "
            "data.revision=COMMIT, a dataset on the hub that holds them"
        )
    root = Path(settings.root).expanduser()
    if not root.is_dir():
        raise InputError(f"data.root={settings.root}: no such folder (sought {root.resolve()})")
    return root


def _check_name(kind: str, name: str) -> None:
    """Refuse what would be sought outside of the root, or can't be a file's name."""
    if not re.fullmatch(r"[^/\\\0]{1,200}", name) or set(name) == {"."}:
        raise InputError(f"{kind} {name!r:.60}: give the name of a set below data.root, no path")


def _ignoring_case(folder: Path, name: str) -> Path:
    """The entry of a folder with this name, whatever its case; the plain path where none is."""
    if (folder / name).exists() or not folder.is_dir():
        return folder / name
    return next(
        (entry for entry in folder.iterdir() if entry.name.casefold() == name.casefold()),
        folder / name,
    )


def _names_there(root: Path) -> str:
    names = {p.stem for p in (root / "ft-training_set").glob("*.json")}
    names |= {p.parent.name for p in (root / "dataset").glob("*/train*.json")}
    return f"Found there: {', '.join(sorted(names)) or 'none'}."


def _problems(
    path: Path,
    root: Path,
    key: str,
    convert: Callable[[Mapping[str, Any]], tasks.Row],
    files: dict[str, str],
) -> list[Problem]:
    raw_rows = _raw_rows(path)
    if not raw_rows:
        raise InputError(f"{path} has no rows")
    problems = []
    for row, raw in enumerate(raw_rows):
        if not isinstance(raw, dict):
            raise InputError(f"{path}, row {row}: not a JSON object but {type(raw).__name__}")
        try:
            problems.append(Problem(key, **convert(raw)))
        except KeyError as error:
            raise InputError(
                f"{path}, row {row}: lacks {error.args[0]}; it has {', '.join(raw) or 'no keys'}"
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{path}, row {row}: {error}") from error
    name = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    files[name.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return problems


def _raw_rows(path: Path) -> list[Any]:
    """The rows of a JSON list, or of a file with one JSON object a line (.jsonl)."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows puts a mark in front
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from error
    if path.suffix != ".jsonl":
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is not JSON: {error}") from error
        if not isinstance(rows, list):
            raise InputError(f"{path} must hold a list of rows, not {type(rows).__name__}")
        return rows
    rows = []
    for row, line in enumerate(text.split("\n")):  # a string in a row may hold other line ends
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}, row {row}: not JSON: {error}") from error
    return rows
