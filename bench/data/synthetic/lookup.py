"""Labelled lists and questions to them, told as statements: what multiple choice asks of a base.

"A) 12 B) 15 C) 9. 15 is B. 9 is C." To write the B, a model has to find the 15 in the list and
the label beside it. Text alone hardly teaches that: `bench.data.tiny_base` says what does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.data.synthetic.corpus import LARGEST, told_step
from bench.data.synthetic.draw import Draw
from bench.data.synthetic.stories import OBJECTS, compute, numbers
from bench.tasks.task import LETTERS


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
    make = draw.weighted(ENTRIES, (3, 2, 2, 3, 2))
    story, values, equations = make(draw, options)
    # A story's result is in a random place of the list, and asked for first.
    order = draw.shuffled(range(options))
    labels = LETTERS[:options] if draw.chance(0.7) else draw.shuffled(LETTERS)[:options]
    label = dict(zip(order, labels, strict=True))
    entry, between = draw.choice(FORMS)
    listed = between.join(entry.format(a=label[i], v=values[i]) for i in order)
    text, answers = f"{story}{draw.choice(INTROS)}{listed}.", []
    for query in range(queries):
        place = 0 if story and not query else draw.integer(0, options - 1)
        asked, answer = values[place], label[place]
        if draw.chance(0.15):
            asked, answer = answer, asked
        elif place in equations:
            text += f" {equations[place]}"
        text += f" {asked} is "
        answers.append((len(text), len(text) + len(answer)))
        text += f"{answer}."
    return Lookup(text, tuple(answers))


INTROS = ("List: ", "Options: ", "Here: ", "One of these: ", "")
FORMS = (("{a}) {v}", " "), ("({a}) {v}", " "), ("{a} {v}", ", "), ("{v} {a}", ", "))

# What a list has: a story before it, its values, and equations that lead to some of them.
Entries = tuple[str, list[str], dict[int, str]]


def _numbers(draw: Draw, count: int) -> Entries:
    return "", _different(count, lambda: draw.integer(1, draw.choice((9, 99, 999)))), {}


def _near_numbers(draw: Draw, count: int) -> Entries:
    return "", _around(draw, draw.integer(8, 180), count), {}


def _words(draw: Draw, count: int) -> Entries:
    return "", _different(count, lambda: draw.zipf(OBJECTS)), {}


def _results(draw: Draw, count: int) -> Entries:
    equations: dict[str, str] = {}
    while len(equations) < count:
        operation = draw.choice("+-*/")
        x, y = numbers(draw, operation, LARGEST)
        z = compute(x, operation, y)
        equations.setdefault(str(z), f"{x}{operation}{y}={z}.")
    return "", list(equations), dict(enumerate(equations.values()))


def _story(draw: Draw, count: int) -> Entries:
    events, (equation,), _ = told_step(draw)
    result = equation.rstrip(".").split("=")[1]
    values = [result, *(v for v in _around(draw, int(result), count + 1) if v != result)]
    return f"{' '.join(events)} ", values[:count], {0: equation}


ENTRIES: tuple[Callable[[Draw, int], Entries], ...] = (
    _numbers,
    _near_numbers,
    _words,
    _results,
    _story,
)


def _around(draw: Draw, middle: int, count: int) -> list[str]:
    return _different(count, lambda: max(1, middle + draw.integer(-12, 12)))


def _different(count: int, make: Callable[[], object]) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[str(make())] = None
    return list(found)
