"""Scenarios, their words and their numbers, shared by the problems and the pretraining corpus."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from bench.data.synthetic import words
from bench.data.synthetic.draw import Draw, split_of
from bench.errors import InputError


@dataclass(frozen=True)
class Scenario:
    """A relation `x operation y = z` and its wordings."""

    name: str
    operation: str
    openings: list[str]
    events: list[str]
    questions: list[str]
    closings: list[str]

    @property
    def wordings(self) -> list[tuple[int, int, int]]:
        """All combinations of an opening, an event and a question, by their positions."""
        openings, events = range(len(self.openings)), range(len(self.events))
        return list(itertools.product(openings, events, range(len(self.questions))))


_data = yaml.safe_load(Path(__file__).with_name("scenarios.yaml").read_text(encoding="utf-8"))

SCENARIOS = tuple(Scenario(**scenario) for scenario in _data["scenarios"])
DISTRACTORS: list[str] = _data["distractors"]
CHAIN_OPENINGS: list[str] = _data["chain_openings"]
CHAIN_EVENTS: dict[str, list[str]] = _data["chain_events"]
CHAIN_QUESTIONS: list[str] = _data["chain_questions"]

MAX_TRIES = 10_000  # an impossible request must end in an error, not in an endless loop

_THINGS, _FOODS = ([w.replace("_", " ") for w in given] for given in (words.THINGS, words.FOODS))
OBJECTS = [word for pair in zip(_THINGS, _FOODS, strict=False) for word in pair]
OBJECTS += _THINGS[len(_FOODS) :]
NAMES = [name for pair in zip(words.GIRLS, words.BOYS, strict=False) for name in pair]
_GIRLS = frozenset(words.GIRLS)


def people_and_things(draw: Draw, person: dict[str, str] | None = None) -> dict[str, str]:
    """Words for all slots of a scenario except its numbers.

    Args:
        draw: source of the choices.
        person: slots whose first person and objects are kept.
    """
    first = draw.zipf(NAMES)
    second = _other(draw, NAMES, first)
    things = draw.zipf(OBJECTS)
    girl = first in _GIRLS
    slots = {
        "n": first,
        "m": second,
        "he": "she" if girl else "he",
        "He": "She" if girl else "He",
        "his": "her" if girl else "his",
        "his_m": "her" if second in _GIRLS else "his",
        "o": things,
        "o2": _other(draw, OBJECTS, things),
        "c": draw.zipf(words.CONTAINERS),
        "p": draw.zipf(words.PEOPLE),
        "place": draw.zipf(words.PLACES),
        "day": draw.choice(words.DAYS),
        "adj": draw.zipf(words.ADJECTIVES),
    }
    return slots | {key: person[key] for key in ("n", "he", "He", "his", "o") if person}


def _other(draw: Draw, options: list[str], taken: str) -> str:
    while (word := draw.zipf(options)) == taken:
        pass
    return word


def compute(x: int, operation: str, y: int) -> int:
    """x operation y, for `+ - * /` on integers.

    Raises:
        ValueError: a division has a remainder.
    """
    if operation == "/":
        if x % y:
            raise ValueError(f"{x} / {y} leaves a remainder")
        return x // y
    return {"+": x + y, "-": x - y, "*": x * y}[operation]


def equation(x: int, operation: str, y: int) -> str:
    """An equation as text: `13+24=37.`."""
    return f"{x}{operation}{y}={compute(x, operation, y)}."


def numbers(draw: Draw, operation: str, largest: int) -> tuple[int, int]:
    """Two numbers whose equation stays within `largest` (products within 12 times 15)."""
    if operation == "+":
        x = draw.integer(2, largest - 2)
        return x, draw.integer(2, largest - x)
    if operation == "-":
        x = draw.integer(5, largest)
        return x, draw.integer(2, x - 2)
    x, y = draw.shuffled((draw.integer(2, 12), draw.integer(2, 15)))
    return (x, y) if operation == "*" else (x * y, y)


def number_split(*values: int) -> str:
    """The split that may use these numbers together, in any order and with any operation."""
    return split_of("numbers", *sorted(values))


def wording_split(scenario: Scenario, wording: tuple[int, int, int]) -> str:
    """The split that may use this combination of opening, event and question."""
    return split_of("wording", scenario.name, *wording)


def draw_numbers(
    draw: Draw, operation: str, largest: int, split: str, irrelevant: int = 1
) -> tuple[int, ...]:
    """Two operands and `irrelevant` further numbers that belong to one split.

    Both the pair and all numbers together belong to the split, so that a story may leave out the
    irrelevant ones.

    Raises:
        InputError: no such numbers were found; `largest` leaves too few for the split.
    """
    for _ in range(MAX_TRIES):
        x, y = numbers(draw, operation, largest)
        drawn = (x, y, *(draw.integer(2, 30) for _ in range(irrelevant)))
        if number_split(x, y) == split and number_split(*drawn) == split:
            return drawn
    raise InputError(
        f"no numbers up to {largest} for '{operation}' belong to the {split} split: raise "
        "data.largest"
    )


def draw_wording(draw: Draw, scenario: Scenario, split: str) -> tuple[int, int, int]:
    """A combination of wordings of one split, uniformly drawn."""
    return draw.choice([w for w in scenario.wordings if wording_split(scenario, w) == split])


LARGEST_PRODUCT = 180
LARGEST_OPERAND = {"+": 60, "-": 60, "*": 12, "/": 12}


def next_step(draw: Draw, value: int, largest: int, split: str | None) -> tuple[str, int]:
    """An operation and an operand that continue a chain of equations.

    Args:
        draw: source of the choices.
        value: the result so far.
        largest: largest sum; products may reach `LARGEST_PRODUCT`.
        split: the split that value and operand must belong to; None for any.

    Raises:
        ValueError: no step was found.
    """
    allowed = _steps(value, largest, split)
    if not allowed:
        draw.skip(2 * MAX_TRIES)  # the random numbers of as many tries
    for _ in range(MAX_TRIES if allowed else 0):
        operation = draw.weighted("+-*/", (4, 4, 2, 2))
        step = operation, draw.integer(2, LARGEST_OPERAND[operation])
        if step in allowed:
            return step
    raise ValueError(f"no step continues from {value} within {largest}")


@cache
def _steps(value: int, largest: int, split: str | None) -> frozenset[tuple[str, int]]:
    return frozenset(
        (operation, operand)
        for operation, most in LARGEST_OPERAND.items()
        for operand in range(2, most + 1)
        if operation != "/" or value % operand == 0
        if compute(value, operation, operand) >= 2
        if compute(value, operation, operand) <= (largest if operation == "+" else LARGEST_PRODUCT)
        if split is None or number_split(value, operand) == split
    )
