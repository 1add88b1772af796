"""The space of a search: Hydra's sweep syntax as Optuna's distributions."""

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
    """What a search chooses, and what it does not.

    Attributes:
        distributions: Optuna's, by key.
        values: of each key with a finite number of them, as in overrides.
        words: of each key, as written.
        fixed: overrides that all trials share.
    """

    distributions: dict[str, BaseDistribution]
    values: dict[str, list[str]]
    words: dict[str, str]
    fixed: tuple[str, ...]

    def points(self) -> list[dict[str, Any]]:
        """All combinations, for a grid.

        Raises:
            InputError: a key has an interval, which can't be enumerated.
        """
        for key, word in self.words.items():
            if key not in self.values:
                raise InputError(
                    f"sampler=grid enumerates all values, and {key}={word} is an interval: write "
                    f"{key}=choice(...) or range(...), or give hydra/sweeper/sampler=tpe"
                )
        combined = itertools.product(*(self.values[key] for key in self.distributions))
        return [dict(zip(self.distributions, values, strict=True)) for values in combined]

    def some_point(self) -> dict[str, Any]:
        """A point of the space, to check that it can be run."""
        return {
            key: self.values[key][0] if key in self.values else distribution.low  # type: ignore[attr-defined]
            for key, distribution in self.distributions.items()
        }

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial."""
        return [*self.fixed, *self.chosen(params)]

    def chosen(self, params: Mapping[str, Any]) -> list[str]:
        """What distinguishes a trial from the others, as overrides."""
        return [f"{key}={value}" for key, value in params.items()]


def read_space(overrides: Sequence[Override], grid: bool) -> Space:
    """The space of a sweep's overrides.

    Args:
        overrides: of the sweep; those that are swept over span the space.
        grid: whether all values are enumerated: then ranges are lists of values too.

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
            raise InputError(f"{key}={words[key]} is not a range to search: {error}") from error
    if not distributions:
        raise InputError(
            "the search space is empty: give what to search over, e.g. curvature=0.1,0.5,1 or "
            "train.lr='tag(log,interval(1e-4,1e-1))'"
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
    """A text quoted for Hydra's parser."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def make_sampler(configured: Any, turn: int = 0) -> BaseSampler | None:
    """The sampler of a configuration; None for a grid, whose points are enumerated here.

    Optuna's own grid sampler is not used: it may give one point to two processes.

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
    target = str((configured or {}).get("_target_"))
    if target == SAMPLERS["grid"]:
        return None
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if not target.startswith("optuna.samplers."):
        raise unknown("sampler", target, SAMPLERS.values())
    settings = dict(configured)
    # QMC counts its own sequence in the study.
    if settings.get("seed") is not None and target != SAMPLERS["qmc"]:
        settings["seed"] = (int(settings["seed"]) * 1_000_003 + turn) % 2**32
    try:
        return instantiate(settings)
    except InstantiationException as error:
        raise InputError(f"hydra.sweeper.sampler can't be made: {error}") from error
