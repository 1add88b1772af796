"""Labelled lists and questions to them, told as statements: what multiple choice asks of a base.

"A) 12 B) 15 C) 9. 15 is B. 9 is C." To write the B, a model has to find the 15 in the list and
the label beside it. Text alone hardly teaches that: see `bench.data.pretraining` for how the
embedded base learns it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.synthetic.draw import Draw
from bench.data.synthetic.stories import OBJECTS, compute, numbers

LABELS = ("A", "B", "C", "D", "E")
LARGEST = 99


@dataclass(frozen=True)
class Lookup:
    """A text, and where in it stand the answers that only looking them up gives.

    Attributes:
        text: a list and statements about it.
        answers: (start, end) of each answer, in characters.
    """

    text: str
    answers: tuple[tuple[int, int], ...]


def lookup(draw: Draw, options: int | None = None, queries: int | None = None) -> Lookup:
    """A labelled list and statements that each name one of its entries.

    Args:
        draw: where the choices come from.
        options: how many entries, 2 to 5; None to draw it.
        queries: how many statements; None to draw it.
    """
    options = options or draw.weighted((2, 3, 4, 5), (1, 2, 3, 4))
    queries = queries or draw.integer(4, 9)
    labels = list(LABELS[:options])
    if draw.chance(0.3):
        labels = draw.shuffled(LABELS)[:options]
    if draw.chance(0.3):
        values, equations = _results(draw, options)
    else:
        values = draw.weighted((_numbers, _near_numbers, _words), (3, 2, 2))(draw, options)
        equations = []
    entry, between, end = draw.choice(FORMS)
    listed = between.join(entry.format(a=a, v=v) for a, v in zip(labels, values, strict=True))
    text, answers = f"{draw.choice(INTROS)}{listed}{end}", []
    for _ in range(queries):
        place = draw.integer(0, options - 1)
        asked, answer = values[place], labels[place]
        if draw.chance(0.15):
            asked, answer = answer, asked
        elif equations:
            text += f" {equations[place]}"
        text += f" {asked} is "
        answers.append((len(text), len(text) + len(answer)))
        text += f"{answer}."
    return Lookup(text, tuple(answers))


INTROS = ("List: ", "Options: ", "Here: ", "One of these: ", "")
FORMS = (  # an entry, what stands between two, and what ends the list
    ("{a}) {v}", " ", ""),
    ("{a} {v}", ", ", "."),
    ("{v} {a}", ", ", "."),
    ("{v} is {a}", ". ", "."),
)


def _numbers(draw: Draw, count: int) -> list[str]:
    return _different(draw, count, lambda: draw.integer(1, draw.choice((9, 99, 999))))


def _near_numbers(draw: Draw, count: int) -> list[str]:
    middle = draw.integer(8, 180)
    return _different(draw, count, lambda: max(1, middle + draw.integer(-12, 12)))


def _words(draw: Draw, count: int) -> list[str]:
    return _different(draw, count, lambda: draw.zipf(OBJECTS))


def _results(draw: Draw, count: int) -> tuple[list[str], list[str]]:
    """Different numbers, and for each an equation that has it as its result."""
    equations: dict[str, str] = {}
    while len(equations) < count:
        operation = draw.choice("+-*/")
        x, y = numbers(draw, operation, LARGEST)
        z = compute(x, operation, y)
        equations.setdefault(str(z), f"{x}{operation}{y}={z}.")
    return list(equations), list(equations.values())


def _different(draw: Draw, count: int, make) -> list[str]:  # type: ignore[no-untyped-def]
    found: dict[str, None] = {}
    while len(found) < count:
        found[str(make())] = None
    return list(found)
