"""The space of a search: Hydra's sweep syntax as Optuna's distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler

from bench.errors import InputError, unknown

MANY = 10_000  # points; a sampler hardly ever repeats one of more
SAMPLERS = {
    "grid": "optuna.samplers.GridSampler",
    "nsgaii": "optuna.samplers.NSGAIISampler",
    "qmc": "optuna.samplers.QMCSampler",
    "random": "optuna.samplers.RandomSampler",
    "tpe": "optuna.samplers.TPESampler",
}


@dataclass(frozen=True)
class Space:
    """What a search chooses, and what it does not.

    Attributes:
        distributions: Optuna's, by key.
        values: the values of each key that has finitely many, as in overrides.
        expressions: of each key, as written: `tag(log,interval(1e-4,1e-1))`.
        fixed: overrides that all trials share.
    """

    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    expressions: dict[str, str] = field(default_factory=dict)
    fixed: list[str] = field(default_factory=list)

    def points(self) -> list[dict[str, Any]]:
        """All combinations, for a grid.

        Raises:
            InputError: a key has an interval, which can't be enumerated.
        """
        for key, expression in self.expressions.items():
            if key not in self.values:
                raise InputError(
                    f"sampler=grid enumerates all values, and {key}={expression} is an interval: "
                    f"write {key}=choice(...) or range(...), or give hydra/sweeper/sampler=tpe"
                )
        combined = itertools.product(*(self.values[key] for key in self.distributions))
        return [dict(zip(self.distributions, values, strict=True)) for values in combined]

    def finite_points(self) -> list[dict[str, Any]] | None:
        """All points in Optuna's values; None if there are infinitely or very many."""
        values: list[Sequence[Any]] = []
        for d in self.distributions.values():
            if isinstance(d, CategoricalDistribution):
                values.append(d.choices)
            elif isinstance(d, IntDistribution):
                values.append(range(d.low, d.high + 1, d.step))
            elif isinstance(d, FloatDistribution) and d.step:
                values.append(
                    [d.low + i * d.step for i in range(round((d.high - d.low) / d.step) + 1)]
                )
            else:
                return None
        if math.prod(map(len, values)) > MANY:
            return None
        return [dict(zip(self.distributions, p, strict=True)) for p in itertools.product(*values)]

    def some_point(self) -> dict[str, Any]:
        """A point of the space, to check that it can be run."""
        return {
            key: self.values[key][0] if key in self.values else distribution.low  # type: ignore[attr-defined]
            for key, distribution in self.distributions.items()
        }

    def last(self, key: str) -> Any:
        """The last value of a key, or the upper bound of its interval."""
        return self.values[key][-1] if key in self.values else self.distributions[key].high  # type: ignore[attr-defined]

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial."""
        return [*self.fixed, *as_overrides(params)]


def as_overrides(params: Mapping[str, Any]) -> list[str]:
    """Values by key as overrides, KEY=VALUE."""
    return [f"{key}={value}" for key, value in params.items()]


def read_space(overrides: Sequence[Override], grid: bool) -> Space:
    """The space that the overrides of a sweep span; of a grid, ranges are lists of values too.

    Raises:
        InputError: nothing is swept over, or a range is empty.
    """
    space = Space()
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            space.fixed.append(f"{key}={override.get_value_element_as_str()}")
            continue
        expression = space.expressions[key] = str(override.input_line).partition("=")[2]
        try:
            if override.is_discrete_sweep():
                space.values[key] = list(dict.fromkeys(override.sweep_string_iterator()))
            space.distributions[key] = _distribution(override, space.values.get(key), grid)
        except (ValueError, AssertionError) as error:
            raise InputError(f"{key}={expression} is not a range to search: {error}") from error
    if not space.distributions:
        raise InputError(
            "the search space is empty: give what to search over, e.g. curvature=0.1,0.5,1 or "
            "train.lr='tag(log,interval(1e-4,1e-1))'"
        )
    return space


def _distribution(override: Override, values: list[str] | None, grid: bool) -> BaseDistribution:
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        low, high, log = sweep.start, sweep.end, "log" in sweep.tags
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    if not values:
        raise ValueError("it is empty")
    if override.is_range_sweep() and not grid:
        if all(value.lstrip("-").isdigit() for value in values):
            return IntDistribution(int(values[0]), int(values[-1]), step=int(sweep.step))
        return FloatDistribution(float(values[0]), float(values[-1]), step=float(sweep.step))
    return CategoricalDistribution(values)


def make_sampler(configured: Any, turn: int = 0) -> BaseSampler | None:
    """The sampler of a configuration; None for a grid, whose points are enumerated here.

    Args:
        configured: the name of a sampler, or a mapping with its `_target_`.
        turn: the number of trials so far. With the same seed at each start, a sampler would draw
            the same points again after a kill, and in two processes.

    Raises:
        InputError: there is no such sampler, or it does not take its arguments.
    """
    if isinstance(configured, str):
        if configured not in SAMPLERS:
            raise unknown("sampler", configured, SAMPLERS)
        configured = {"_target_": SAMPLERS[configured]}
    settings = dict(configured or {})
    target = str(settings.get("_target_"))
    if target == SAMPLERS["grid"]:
        return None
    if not target.startswith("optuna.samplers."):
        raise unknown("sampler", target, SAMPLERS.values())
    # QMC counts its own sequence in the study.
    if settings.get("seed") is not None and target != SAMPLERS["qmc"]:
        settings["seed"] = (int(settings["seed"]) * 1_000_003 + turn) % 2**32
    try:
        return instantiate(settings)
    except InstantiationException as error:
        raise InputError(f"hydra.sweeper.sampler can't be made: {error}") from error
