"""Labelled lists with statements about them: the skill that multiple choice needs from a base.

"A) 12 B) 15 C) 9. 15 is B. 9 is C." To predict B, a model must find 15 in the list and copy the
label next to it. Text alone hardly trains this: see `bench.data.tiny_base`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.data.synthetic.corpus import LARGEST, one_step_story
from bench.data.synthetic.draw import Draw
from bench.data.synthetic.stories import OBJECTS, equation, numbers
from bench.tasks.task import LETTERS


@dataclass(frozen=True)
class Lookup:
    """A text with answers that can only be found by looking them up in its list.

    Attributes:
        text: a list and statements about it.
        answers: (start, end) of each answer, in characters.
    """

    text: str
    answers: tuple[tuple[int, int], ...]


def lookup(draw: Draw, options: int | None = None, queries: int | None = None) -> Lookup:
    """A labelled list and statements that each name one of its entries.

    Args:
        draw: source of the choices.
        options: number of entries, 2 to 5; None to draw it.
        queries: number of statements; None to draw it.
    """
    options = options or draw.weighted((2, 3, 4, 5), (1, 2, 3, 4))
    queries = queries or draw.integer(4, 9)
    make = draw.weighted(ENTRIES, (3, 2, 2, 3, 2))
    story, values, equations = make(draw, options)
    # A story's result is at a random position of the list, and is queried first.
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

# An optional story before the list, its values, and equations that lead to some of them.
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
        step = equation(x, operation, y)
        equations.setdefault(_result(step), step)
    return "", list(equations), dict(enumerate(equations.values()))


def _story(draw: Draw, count: int) -> Entries:
    events, step, _ = one_step_story(draw)
    result = _result(step)
    values = [result, *(v for v in _around(draw, int(result), count + 1) if v != result)]
    return f"{' '.join(events)} ", values[:count], {0: step}


Maker = Callable[[Draw, int], Entries]
ENTRIES: tuple[Maker, ...] = (_numbers, _near_numbers, _words, _results, _story)


def _result(step: str) -> str:
    return step.rstrip(".").split("=")[1]


def _around(draw: Draw, middle: int, count: int) -> list[str]:
    return _different(count, lambda: max(1, middle + draw.integer(-12, 12)))


def _different(count: int, make: Callable[[], object]) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[str(make())] = None
    return list(found)
