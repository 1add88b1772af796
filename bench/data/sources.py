"""Where a run's problems come from: the synthetic generator, or files in LLM-Adapters' layout."""

from __future__ import annotations

from functools import lru_cache

from bench.data.llm_adapters import read_test, read_training
from bench.data.problems import DataSettings, Problem, ProblemSets
from bench.data.synthetic.draw import Draw
from bench.data.synthetic.problems import FAMILIES, Difficulty, generate
from bench.errors import InputError, unknown

# LLM-Adapters' split seed: runs on the same training sets have the same validation rows, whatever
# their own seed, so that settings chosen on those were never trained on them.
VALIDATION_SEED = 42


def load_problems(settings: DataSettings, trained: bool) -> ProblemSets:
    """Read or make the rows that the settings name.

    Args:
        settings: what to train and test on.
        trained: whether the run trains; without training no training rows are loaded.

    Raises:
        InputError: a name or a file that isn't there, a row that can't be read, or an empty set.
    """
    sources = {"synthetic": _synthetic, "llm_adapters": _files}
    if settings.source not in sources:
        raise unknown("data source", settings.source, sources)
    if not settings.tests:
        raise InputError("data.tests is empty: name at least one test set, data.tests=[mawps]")
    if trained and not settings.train:
        raise InputError(
            "data.train is empty, and this method is trained: name a training set "
            "(data.train=[mawps]), or use method=none or adapter=PATH"
        )
    return sources[settings.source](settings, trained)


def _synthetic(settings: DataSettings, trained: bool) -> ProblemSets:
    families = {name.casefold(): name for name in FAMILIES}
    for kind, names in (("training set", settings.train), ("test set", settings.tests)):
        for name in names:
            if name.casefold() not in families:
                raise unknown(f"synthetic {kind}", name, FAMILIES)

    try:
        difficulty = Difficulty(
            settings.largest,
            settings.mawps_steps,
            settings.svamp_distractors,
            settings.gsm8k_steps,
            settings.aqua_steps,
        )
    except ValueError as error:
        raise InputError(str(error)) from error

    def rows(names: list[str], split: str, count: int) -> dict[str, list[Problem]]:
        if settings.limit is not None:
            count = min(count, settings.limit)
        keys = dict.fromkeys(families[name.casefold()] for name in names)
        try:
            return {
                key: [
                    Problem(key, **row)
                    for row in _generated(key, split, count, settings.seed, difficulty)
                ]
                for key in keys
            }
        except ValueError as error:
            raise InputError(str(error)) from error

    train = rows(settings.train, "train", settings.train_size) if trained else {}
    validation = rows(settings.train, "validation", settings.validation) if trained else {}
    return ProblemSets(
        train=[problem for family in train.values() for problem in family],
        validation=[problem for family in validation.values() for problem in family],
        tests=rows(settings.tests, "test", settings.test_size),
    )


# A sweep's workers are asked for the same rows in every run.
_generated = lru_cache(maxsize=32)(generate)


def _files(settings: DataSettings, trained: bool) -> ProblemSets:
    files: dict[str, str] = {}
    pool: list[Problem] = []
    without_output = 0
    for name in dict.fromkeys(settings.train) if trained else ():
        rows, left_out = read_training(settings, name, files)
        pool += rows[: settings.limit]
        without_output += left_out
    tests: dict[str, list[Problem]] = {}
    for name in settings.tests:
        key, problems = read_test(settings, name, files)
        tests[key] = problems[: settings.limit]
    if trained and settings.validation >= len(pool):
        raise InputError(
            f"data.validation={settings.validation} leaves no rows of {len(pool)} to train on"
        )
    order = Draw("validation", VALIDATION_SEED).shuffled(range(len(pool)))
    held_out = frozenset(order[: settings.validation])
    return ProblemSets(
        train=[p for i, p in enumerate(pool) if i not in held_out],
        validation=[p for i, p in enumerate(pool) if i in held_out],
        tests=tests,
        files=files,
        without_output=without_output,
    )
