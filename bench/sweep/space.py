"""What a search chooses from: Hydra's sweep words as Optuna's distributions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override

from bench.errors import InputError, unknown

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

SAMPLERS = {
    "grid": "optuna.samplers.GridSampler",
    "nsgaii": "optuna.samplers.NSGAIISampler",
    "qmc": "optuna.samplers.QMCSampler",
    "random": "optuna.samplers.RandomSampler",
    "tpe": "optuna.samplers.TPESampler",
}


@dataclass(frozen=True)
class Space:
    """What is chosen, and what is not.

    Attributes:
        distributions: Optuna's, by key.
        values: of each key that can be counted up, as overrides have them.
        words: of each key, as it was written.
        fixed: overrides that all trials share.
    """

    distributions: dict[str, BaseDistribution]
    values: dict[str, list[str]]
    words: dict[str, str]
    fixed: tuple[str, ...]

    def points(self) -> list[dict[str, Any]]:
        """All combinations, for a grid.

        Raises:
            InputError: a key has an interval, which has no end of values.
        """
        for key, word in self.words.items():
            if key not in self.values:
                raise InputError(
                    f"sampler=grid counts all values up, and {key}={word} has no end of them: "
                    f"write {key}=choice(...) or range(...), or take hydra/sweeper/sampler=tpe"
                )
        combined = itertools.product(*(self.values[key] for key in self.distributions))
        return [dict(zip(self.distributions, values, strict=True)) for values in combined]

    def some_point(self) -> dict[str, Any]:
        """One point of the space, to check that it can be run at all."""
        return {
            key: self.values[key][0] if key in self.values else distribution.low  # type: ignore[attr-defined]
            for key, distribution in self.distributions.items()
        }

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial."""
        return [*self.fixed, *self.told(params)]

    def told(self, params: Mapping[str, Any]) -> list[str]:
        """What tells a trial from the others, as overrides."""
        return [f"{key}={value}" for key, value in params.items()]


def read_space(overrides: Sequence[Override], grid: bool) -> Space:
    """The space of a sweep's overrides.

    Args:
        overrides: of the sweep; those that are swept over make the space.
        grid: whether all values are counted up: then ranges are lists of values too.

    Raises:
        InputError: nothing is swept over, or a range is empty.
    """
    distributions: dict[str, BaseDistribution] = {}
    values: dict[str, list[str]] = {}
    words: dict[str, str] = {}
    fixed = []
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            fixed.append(f"{key}={override.get_value_element_as_str()}")
            continue
        words[key] = str(override.input_line).partition("=")[2]
        try:
            if override.is_discrete_sweep():
                values[key] = list(dict.fromkeys(override.sweep_string_iterator()))
            distributions[key] = _distribution(override, values.get(key), grid)
        except (ValueError, AssertionError) as error:
            raise InputError(f"{key}={words[key]} is no range to search in: {error}") from error
    if not distributions:
        raise InputError(
            "there is nothing to choose from: give what is searched over, e.g. curvature=0.1,0.5,1 "
            "or train.lr='tag(log,interval(1e-4,1e-1))'"
        )
    return Space(distributions, values, words, tuple(fixed))


def _distribution(override: Override, values: list[str] | None, grid: bool) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        if isinstance(sweep.start, int) and isinstance(sweep.end, int):
            return IntDistribution(sweep.start, sweep.end, log="log" in sweep.tags)
        assert sweep.start is not None and sweep.end is not None
        return FloatDistribution(float(sweep.start), float(sweep.end), log="log" in sweep.tags)
    if not values:
        raise ValueError("it is empty")
    if override.is_range_sweep() and not grid:
        step: Any = sweep.step  # type: ignore[union-attr]
        if all(value.lstrip("-").isdigit() for value in values):
            return IntDistribution(int(values[0]), int(values[-1]), step=int(step))
        return FloatDistribution(float(values[0]), float(values[-1]), step=float(step))
    return CategoricalDistribution(values)


def quoted(value: str) -> str:
    """A text as Hydra reads it back, whatever is in it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def make_sampler(configured: Any, turn: int = 0) -> BaseSampler | None:
    """The sampler of a configuration; None for a grid, whose points are counted up here.

    Optuna's own grid is not used: it may hand one cell to two processes.

    Args:
        configured: the name of a sampler, or a mapping with its `_target_`.
        turn: the trials so far. A sampler that was seeded alike at each start would draw the points
            again that it drew before a kill, and in two processes the same ones.

    Raises:
        InputError: there is no such sampler, or it does not take what it is given.
    """
    if isinstance(configured, str):
        if configured not in SAMPLERS:
            raise unknown("sampler", configured, SAMPLERS)
        configured = {"_target_": SAMPLERS[configured]}
    target = str((configured or {}).get("_target_"))
    if target == SAMPLERS["grid"]:
        return None
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if not target.startswith("optuna.samplers."):
        raise unknown("sampler", target, SAMPLERS.values())
    settings = dict(configured)
    # The sequence of QMC goes by its own count in the study.
    if settings.get("seed") is not None and target != SAMPLERS["qmc"]:
        settings["seed"] = (int(settings["seed"]) * 1_000_003 + turn) % 2**32
    try:
        return instantiate(settings)
    except InstantiationException as error:
        raise InputError(f"hydra.sweeper.sampler can't be made: {error}") from error
