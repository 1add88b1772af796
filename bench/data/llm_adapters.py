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
from bench.tasks.task import CHOICES, Row, Task, same_row, training_row

_log = logging.getLogger(__name__)

_ENDINGS = (".json", ".jsonl")


def read_training(settings: DataSettings, name: str, files: dict[str, str]) -> list[Problem]:
    """Read a training set.

    The set is the first of ft-training_set/NAME.json, dataset/NAME/train.json,
    dataset/NAME/trainset.json, the same with .jsonl and, for GSM8K, the file `data.gsm8k` that
    exists. LLM-Adapters' files have a few rows with an empty output, which are not trained on.

    Args:
        settings: `root` or `hub`, and `gsm8k`, are used.
        name: name of the set, ignoring case.
        files: the file's sha256 is added under its name.

    Raises:
        InputError: no such file, a row that cannot be read, or only empty outputs.
    """
    _check_name("training set", name)
    task = tasks.find(name)
    key = task.key if task else name
    patterns = (f"dataset/{folder}/train*.json*" for folder in {name, key})
    root = _root(settings, f"ft-training_set/{name}.json*", *patterns)
    folder = _ignoring_case(root / "dataset", name)
    sought = [
        place
        for ending in _ENDINGS
        for place in (
            _ignoring_case(root / "ft-training_set", f"{name}{ending}"),
            folder / f"train{ending}",
            folder / f"trainset{ending}",
        )
    ]
    if key == "gsm8k" and settings.gsm8k:
        sought.append(Path(settings.gsm8k).expanduser())
    path = next((path for path in sought if path.is_file()), None)
    if path is None:
        hint = ", or give GSM8K's own file, data.gsm8k=PATH" if key == "gsm8k" else ""
        there = {p.stem for p in (root / "ft-training_set").glob("*.json*")}
        there |= {p.parent.name for p in (root / "dataset").glob("*/train*.json*")}
        raise InputError(
            f"no training set '{name}'. Searched: {', '.join(map(str, sought))}. Put the file "
            f"there{hint}. Existing sets: {', '.join(sorted(there)) or 'none'}."
        )
    convert = task.train_row if task else training_row
    if settings.steps and task and task.train_row_in_steps:
        convert = task.train_row_in_steps
    rows = _problems(path, root, key, convert, files)
    empty = sum(not row.output.strip() for row in rows)
    if empty == len(rows):
        raise InputError(f"{path}: the output of every row is empty; there is nothing to train on")
    if empty:
        _log.warning("%s: dropped rows with an empty output: %d", path, empty)
    return rows


class NoTestFile(InputError):
    """A test set has no file."""


def read_test(
    settings: DataSettings, name: str, files: dict[str, str]
) -> tuple[str, list[Problem]]:
    """Read a benchmark's test rows from dataset/NAME/test.json or test.jsonl.

    A set without a module in bench/tasks/ can be scored, too, if its gold answers are all numbers,
    all letters A to E, or all words of one line of `CHOICES`.

    Returns:
        The benchmark's key, and its rows.

    Raises:
        NoTestFile: no such file.
        InputError: no rows, a row that cannot be read, or an invalid answer.
    """
    _check_name("test set", name)
    task = tasks.find(name)
    root = _root(settings, f"dataset/{task.key if task else name}/test.json*")
    folder = _ignoring_case(root / "dataset", task.key if task else name)
    sought = [folder / f"test{ending}" for ending in _ENDINGS]
    path = next((path for path in sought if path.is_file()), None)
    if path is None:
        there = sorted({p.parent.name for p in (root / "dataset").glob("*/test.json*")})
        raise NoTestFile(
            f"{unknown('test set', name, there)} Searched: {', '.join(map(str, sought))}."
        )
    key = task.key if task else path.parent.name
    problems = _problems(path, root, key, same_row, files)
    _check_answers(path, task, [problem.answer for problem in problems])
    return key, problems


def _check_answers(path: Path, task: Task | None, answers: list[str]) -> None:
    expected = task or tasks.describe(path.parent.name, answers[0])
    row = next((row for row, answer in enumerate(answers) if not expected.accepts(answer)), None)
    if row is None:
        return
    wanted = expected.answers if task or row else "a plain number, a letter A to E or a choice"
    lines = "; ".join(", ".join(line) for line in CHOICES)
    hint = (
        "; a set without a module in bench/tasks/ needs answers that are all numbers, all letters "
        f"A to E, or all from one of these lists: {lines}"
    )
    raise InputError(
        f"{path}, row {row}: the answer {answers[row]!r} is not {wanted}{'' if task else hint}"
    )


def _root(settings: DataSettings, *files: str) -> Path:
    if settings.hub:
        return hub_folder(settings.hub, settings.revision, tuple(sorted(files)))
    if not settings.root:
        raise InputError(
            "data=llm_adapters needs data.root=PATH, LLM-Adapters' folder with ft-training_set/ "
            "and dataset/ (a checkout of it, for example); its files are not part of this project. "
            "With make: ARGS=data.root=PATH. Or give data.hub=OWNER/NAME data.revision=COMMIT, a "
            "dataset on the hub that contains them"
        )
    root = Path(settings.root).expanduser()
    if not root.is_dir():
        raise InputError(f"data.root={settings.root}: no such folder (searched {root.resolve()})")
    return root


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(r"[^/\\\0]{1,200}", name) or set(name) == {"."}:
        raise InputError(f"{kind} {name!r:.60}: give the name of a set below data.root, not a path")


def _ignoring_case(folder: Path, name: str) -> Path:
    path = folder / name
    if path.exists() or not folder.is_dir():
        return path
    return next((p for p in folder.iterdir() if p.name.casefold() == name.casefold()), path)


def _problems(
    path: Path,
    root: Path,
    key: str,
    convert: Callable[[Mapping[str, Any]], Row],
    files: dict[str, str],
) -> list[Problem]:
    raw_rows = _raw_rows(path)
    if not raw_rows:
        raise InputError(f"{path} has no rows")
    problems = []
    for row, raw in enumerate(raw_rows):
        if not isinstance(raw, dict):
            raise InputError(f"{path}, row {row}: expected a JSON object, got {type(raw).__name__}")
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
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows writes a byte order mark
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from error
    # JSON Lines often have the ending .json, and lists the ending .jsonl.
    try:
        rows = json.loads(text)
    except RecursionError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    except ValueError as error:
        if path.suffix != ".jsonl" and "Extra data" not in str(error):
            raise InputError(f"{path} is not JSON: {error}") from error
        lines = enumerate(text.split("\n"))  # strings may contain other line separators
        return [_parse(line, f"{path}, row {row}") for row, line in lines if line.strip()]
    if isinstance(rows, dict) and path.suffix == ".jsonl":
        return [rows]
    if not isinstance(rows, list):
        raise InputError(
            f"{path} must contain a list of rows, or one row per line (JSON Lines), not "
            f"{type(rows).__name__}"
        )
    return rows


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is not JSON: {error}") from error
