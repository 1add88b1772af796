"""The text that the embedded base is pretrained on: plain statements about small numbers.

Nothing here has a benchmark's form: no question is asked and no answer announced in the words
that fine-tuning teaches. Stories use only wordings and numbers of the training split, so the
base has never read a validation or test problem; bare equations ("13+24=37.") are arithmetic
that every language model has read, and are drawn from all numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.data.synthetic import words
from bench.data.synthetic.draw import Draw
from bench.data.synthetic.scenarios import CHAIN_EVENTS, DISTRACTORS, HAS, SCENARIOS
from bench.data.synthetic.stories import (
    NAMES,
    OBJECTS,
    compute,
    draw_numbers,
    draw_wording,
    next_step,
    numbers,
    people_and_things,
)

LARGEST = 99


def documents(seed: int) -> Iterator[str]:
    """An endless stream of documents of one to five lines, fixed by the seed."""
    draw = Draw("corpus", seed)
    makers, weights = zip(*LINES, strict=True)
    while True:
        lines = draw.integer(1, 5)
        yield "\n".join(draw.weighted(makers, weights)(draw) for _ in range(lines))


def fact(draw: Draw) -> str:
    """Three to eight bare equations."""
    return " ".join(_any_equation(draw) for _ in range(draw.integer(3, 8)))


def announced_facts(draw: Draw) -> str:
    """Bare equations between the words that stand around a story's equations.

    Without these lines the base knows the facts of the held-out numbers only where they are
    listed, and not where it has to use them.
    """
    equations = [_any_equation(draw) for _ in range(draw.integer(1, 3))]
    return _told(draw, equations)


def chained_equations(draw: Draw) -> str:
    """Equations that each go on from the result before: "22-14=8. 8*3=24."."""
    value, equations = draw.integer(2, 60), []
    for _ in range(draw.integer(2, 5)):
        operation, operand = next_step(draw, value, LARGEST, split=None)
        equations.append(_equation(value, operation, operand))
        value = compute(value, operation, operand)
    return " ".join(equations)


def recap(draw: Draw) -> str:
    """A story without equations, then all its equations together."""
    events, equations = _story(draw)
    return f"{' '.join(events)} {_told(draw, equations)}"


def inline_story(draw: Draw) -> str:
    """A one-step story with its equation and its result told as a statement."""
    events, equations, closing = told_step(draw)
    return f"{' '.join(events)} {equations[0]} {closing}"


def filler(draw: Draw) -> str:
    """Two to four sentences without numbers, for the long tail of words."""
    sentences = []
    for _ in range(draw.integer(2, 4)):
        name, thing = draw.zipf(NAMES), draw.zipf(OBJECTS)
        form = draw.choice(
            (
                "{n} {v} the {a} {o}.",
                "{n} {v} {a} {o} at the {l}.",
                "The {o} in the {l} are {a}.",
                "At the {l} {n} {v} {o} and {n2} {v2} the {c}.",
                "The {p} of {n} have {a} {o}.",
            )
        )
        sentences.append(
            form.format(
                n=name,
                n2=draw.zipf(NAMES),
                v=draw.zipf(words.VERBS),
                v2=draw.zipf(words.VERBS),
                a=draw.zipf(words.ADJECTIVES),
                o=thing,
                l=draw.zipf(words.PLACES),
                c=draw.zipf(words.CONTAINERS),
                p=draw.zipf(words.PEOPLE),
            )
        )
    return " ".join(sentences)


def comparison(draw: Draw) -> str:
    """Which of two numbers is larger, and by how much."""
    sentences = []
    for _ in range(draw.integer(2, 4)):
        x, y = draw.integer(2, LARGEST), draw.integer(2, LARGEST)
        if x == y:
            sentences.append(f"{x} is as much as {y}.")
            continue
        large, small = max(x, y), min(x, y)
        sentences.append(
            draw.choice(
                (
                    f"{large} is more than {small}.",
                    f"{small} is less than {large}.",
                    f"{large} is {large - small} more than {small}.",
                    f"{small} is {large - small} fewer than {large}.",
                )
            )
        )
    return " ".join(sentences)


def counting(draw: Draw) -> str:
    """A run of numbers with a fixed step, up or down."""
    step, start = draw.choice((1, 1, 1, 2, 3, 5, 10)), draw.integer(1, 60)
    run = [start + step * i for i in range(draw.integer(4, 8))]
    return " ".join(map(str, run if draw.chance(0.7) else reversed(run))) + "."


def units(draw: Draw) -> str:
    """A conversion between units."""
    count = draw.integer(2, 12)
    big, size, small = draw.choice(
        (
            ("weeks", 7, "days"),
            ("dozens", 12, "pieces"),
            ("years", 12, "months"),
            ("hours", 60, "minutes"),
            ("dollars", 100, "cents"),
        )
    )
    return f"{count} {big} are {count * size} {small}. {count}*{size}={count * size}."


LINES: tuple[tuple[Callable[[Draw], str], float], ...] = (
    (recap, 0.40),
    (inline_story, 0.18),
    (fact, 0.14),
    (announced_facts, 0.06),
    (chained_equations, 0.08),
    (filler, 0.07),
    (comparison, 0.04),
    (counting, 0.02),
    (units, 0.01),
)


INTROS = (
    ("", 5),
    ("Step by step: ", 4),
    ("In numbers: ", 3),
    ("Now count. ", 2),
    ("Written out: ", 2),
)
TAILS = (("", 5), (" So it is {z}.", 3), (" That makes {z}.", 2), (" It comes to {z}.", 2))


def _told(draw: Draw, equations: list[str]) -> str:
    """Equations with an announcement before them and the last result after them, or without."""
    result = equations[-1].rstrip(".").split("=")[1]
    intro, tail = (draw.weighted(*zip(*options, strict=True)) for options in (INTROS, TAILS))
    return f"{intro}{' '.join(equations)}{tail.format(z=result)}"


def _equation(x: int, operation: str, y: int) -> str:
    return f"{x}{operation}{y}={compute(x, operation, y)}."


def _any_equation(draw: Draw) -> str:
    operation = draw.weighted("+-*/", (4, 5, 4, 4))
    x, y = numbers(draw, operation, LARGEST)
    return _equation(x, operation, y)


def told_step(draw: Draw) -> tuple[list[str], list[str], str]:
    """A one-step story: its sentences, its one equation, and its result as a sentence."""
    scenario = draw.choice(SCENARIOS)
    opening, event, _ = draw_wording(draw, scenario, "train")
    x, y, irrelevant = draw_numbers(draw, scenario.operation, LARGEST, "train")
    z = compute(x, scenario.operation, y)
    slots = people_and_things(draw) | {"x": x, "y": y, "z": z, "d": irrelevant}
    parts = [scenario.openings[opening], scenario.events[event]]
    if draw.chance(0.5):
        parts.insert(draw.integer(0, 2), draw.choice(DISTRACTORS))
    closing = draw.choice(scenario.closings).format(**slots)
    return [part.format(**slots) for part in parts], [_equation(x, scenario.operation, y)], closing


def _story(draw: Draw) -> tuple[list[str], list[str]]:
    """Sentences and their equations: one step in 40%, else a chain."""
    if draw.chance(0.4):
        return told_step(draw)[:2]
    slots = people_and_things(draw)
    value = draw.integer(2, 60)
    events = [draw.choice(HAS).format(**slots, x=value)]
    equations = []
    for _ in range(draw.integer(1, 4)):
        operation, operand = next_step(draw, value, LARGEST, split="train")
        form = draw.choice(TOLD_EVENTS[operation])
        events.append(form.format(**people_and_things(draw) | _same_person(slots), y=operand))
        equations.append(_equation(value, operation, operand))
        value = compute(value, operation, operand)
    if draw.chance(0.25):
        distractor = draw.choice(DISTRACTORS).format(**slots, d=draw.integer(2, 30))
        events.insert(draw.integer(1, len(events)), distractor)
    return events, equations


# The corpus also tells what a problem must not ask about: whose things are counted is then unclear.
TOLD_EVENTS = CHAIN_EVENTS | {
    "*": (*CHAIN_EVENTS["*"], "{m} has {y} times as many."),
    "/": (
        "{n} shares them equally among {y} {p} and looks at one share.",
        CHAIN_EVENTS["/"][0],
    ),
}


def _same_person(slots: dict[str, str]) -> dict[str, str]:
    return {key: slots[key] for key in ("n", "he", "He", "his", "o")}
