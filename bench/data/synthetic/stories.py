"""Words and numbers for a scenario: what problems and the pretraining corpus have in common."""

from __future__ import annotations

from bench.data.synthetic import words
from bench.data.synthetic.draw import Draw, split_of
from bench.data.synthetic.scenarios import Scenario

# A bound on redraws, so that an impossible request ends in an error and never in a hang.
MAX_TRIES = 10_000

OBJECTS = [
    word.replace("_", " ") for pair in zip(words.THINGS, words.FOODS, strict=False) for word in pair
] + [word.replace("_", " ") for word in words.THINGS[len(words.FOODS) :]]
NAMES = [name for pair in zip(words.GIRLS, words.BOYS, strict=False) for name in pair]
_GIRLS = frozenset(words.GIRLS)


def people_and_things(draw: Draw) -> dict[str, str]:
    """Words for every slot of a scenario but its numbers."""
    first = draw.zipf(NAMES)
    second = _other(draw, NAMES, first)
    things = draw.zipf(OBJECTS)
    girl = first in _GIRLS
    return {
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


def _other(draw: Draw, options: list[str], taken: str) -> str:
    while (word := draw.zipf(options)) == taken:
        pass
    return word


def compute(x: int, operation: str, y: int) -> int:
    """x operation y, for the four operations `+ - * /` on whole numbers.

    Raises:
        ValueError: a division that leaves a remainder; no story asks for one.
    """
    if operation == "/":
        if x % y:
            raise ValueError(f"{x} / {y} leaves a remainder")
        return x // y
    return {"+": x + y, "-": x - y, "*": x * y}[operation]


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
    """The split that may use these numbers together, whatever their order and the operation."""
    return split_of("numbers", *sorted(values))


def wording_split(scenario: Scenario, wording: tuple[int, int, int]) -> str:
    """The split that may use this combination of opening, event and question."""
    return split_of("wording", scenario.name, *wording)


def draw_numbers(
    draw: Draw, operation: str, largest: int, split: str, irrelevant: int = 1
) -> tuple[int, ...]:
    """Two numbers for an operation and further ones that do not matter, from one split's numbers.

    Both the pair and all of them together belong to the split, so that a story may leave the
    irrelevant ones out.

    Raises:
        ValueError: no such numbers were found; `largest` leaves the split too few.
    """
    for _ in range(MAX_TRIES):
        x, y = numbers(draw, operation, largest)
        drawn = (x, y, *(draw.integer(2, 30) for _ in range(irrelevant)))
        if number_split(x, y) == split and number_split(*drawn) == split:
            return drawn
    raise ValueError(
        f"no numbers up to {largest} for '{operation}' belong to the {split} split: raise "
        "data.largest"
    )


def draw_wording(draw: Draw, scenario: Scenario, split: str) -> tuple[int, int, int]:
    """A combination of wordings from those of one split, each equally likely."""
    return draw.choice([w for w in scenario.wordings if wording_split(scenario, w) == split])


LARGEST_PRODUCT = 180


def next_step(draw: Draw, value: int, largest: int, split: str | None) -> tuple[str, int]:
    """An operation and an operand that carry a chain of equations on from a value.

    Args:
        draw: where the choice comes from.
        value: the result so far.
        largest: the largest sum; products may reach `LARGEST_PRODUCT`.
        split: whose numbers value and operand have to be; None for any.

    Raises:
        ValueError: no step was found.
    """
    for _ in range(MAX_TRIES):
        operation = draw.weighted("+-*/", (4, 4, 2, 2))
        operand = draw.integer(2, 12 if operation in "*/" else 60)
        if operation == "/" and value % operand:
            continue
        limit = largest if operation == "+" else LARGEST_PRODUCT
        if not 2 <= compute(value, operation, operand) <= limit:
            continue
        if split is None or number_split(value, operand) == split:
            return operation, operand
    raise ValueError(f"no step goes on from {value} within {largest}")
