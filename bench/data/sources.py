"""Loading of a run's problems: from the synthetic generator, or from LLM-Adapters' files."""

from __future__ import annotations

import dataclasses
import itertools
from functools import lru_cache

import numpy

from bench import tasks
from bench.data.llm_adapters import NoTestFile, read_test, read_training
from bench.data.problems import DataSettings, Problem, ProblemSets
from bench.data.synthetic.problems import FAMILIES, Difficulty, generate
from bench.errors import InputError, unknown

# LLM-Adapters' split seed. Runs on the same training sets have the same validation rows, whatever
# their own seed, so no run trains on the rows that settings are selected on.
SPLIT_SEED = 42


def load_problems(settings: DataSettings, trained: bool) -> ProblemSets:
    """Load or generate the rows of a run.

    Args:
        settings: training and test sets.
        trained: whether the run trains; if not, no training rows are loaded.

    Raises:
        InputError: a set or file does not exist, a row cannot be read, or a set is empty.
    """
    sources = {"synthetic": _synthetic, "llm_adapters": _files}
    if settings.source not in sources:
        raise unknown("data source", settings.source, sources)
    if not settings.tests:
        raise InputError("data.tests is empty: name at least one test set, data.tests=[mawps]")
    if trained and not settings.train:
        raise InputError(
            "data.train is empty, but this method needs training: name a training set "
            "(data.train=[mawps]), or use method=none or adapter=PATH"
        )
    return sources[settings.source](settings, trained)


def _synthetic(settings: DataSettings, trained: bool) -> ProblemSets:
    families = {name.casefold(): name for name in FAMILIES}
    for kind, names in (("training set", settings.train), ("test set", settings.tests)):
        for name in names:
            if name.casefold() not in families:
                raise unknown(f"synthetic {kind}", name, FAMILIES)
    names = [field.name for field in dataclasses.fields(Difficulty)]
    difficulty = Difficulty(**{name: getattr(settings, name) for name in names})

    def rows(names: list[str], split: str, count: int) -> dict[str, list[Problem]]:
        if settings.limit is not None:
            count = min(count, settings.limit)
        return {
            key: [Problem(key, **row) for row in _generated(key, split, count, seed, difficulty)]
            for key in dict.fromkeys(families[name.casefold()] for name in names)
        }

    seed, train = settings.seed, settings.train if trained else []
    chained = itertools.chain.from_iterable
    return ProblemSets(
        train=list(chained(rows(train, "train", settings.train_size).values())),
        validation=list(chained(rows(train, "validation", settings.validation).values())),
        tests=rows(settings.tests, "test", settings.test_size),
    )


_generated = lru_cache(maxsize=32)(generate)  # every run of a sweep needs the same rows


def _files(settings: DataSettings, trained: bool) -> ProblemSets:
    files: dict[str, str] = {}
    names = {name.casefold(): name for name in settings.train} if trained else {}
    sets = [read_training(settings, name, files) for name in names.values()]
    known = [task for name in names if (task := tasks.find(name))]
    if settings.steps and trained and not any(task.train_row_in_steps for task in known):
        raise InputError(
            "data.steps=true works out the equations of MAWPS's training file, but data.train is "
            f"[{', '.join(settings.train)}]: name mawps there, or leave data.steps out"
        )
    tests: dict[str, list[Problem]] = {}
    held_out: set[str] = set()  # sets whose last training rows are test rows
    for name in settings.tests:
        key, problems, left_out = _test_rows(settings, name, files)
        if left_out:
            held_out.add(key)
        tests[key] = problems[: settings.limit]
    pool: list[Problem] = []
    for rows in sets:
        if settings.held_out and rows[0].task in held_out:
            if len(rows) <= settings.held_out:
                raise InputError(
                    f"data.held_out={settings.held_out} leaves no rows of {rows[0].task} to train "
                    f"on: it has {len(rows)}"
                )
            rows = rows[: -settings.held_out]
        pool += rows[: settings.limit]
    # The split of LLM-Adapters' code: datasets' train_test_split(test_size, shuffle=True, seed=42).
    order = numpy.random.default_rng(SPLIT_SEED).permutation(len(pool))
    unseen = frozenset(order[: settings.validation].tolist())
    kept = [i for i, problem in enumerate(pool) if problem.output.strip()]
    train = [pool[i] for i in kept if i not in unseen]
    if trained and not train:
        raise InputError(
            f"data.validation={settings.validation} leaves no rows to train on: there are "
            f"{len(kept)}"
        )
    return ProblemSets(
        train=train,
        validation=[pool[i] for i in kept if i in unseen],
        tests=tests,
        files=files,
        without_output=len(pool) - len(kept),
    )


def _test_rows(
    settings: DataSettings, name: str, files: dict[str, str]
) -> tuple[str, list[Problem], bool]:
    """A benchmark's key and rows, and whether these are the last ones of its training set."""
    own = name.casefold() in map(str.casefold, settings.train)
    if settings.held_out is None or not own:
        try:
            return (*read_test(settings, name, files), False)
        except NoTestFile:
            if settings.held_out is None:
                raise
    rows = read_training(settings, name, files)[-settings.held_out :]
    return rows[0].task, rows, True
