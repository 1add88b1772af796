"""The pretraining text of the embedded base: plain statements about small numbers.

No text has a benchmark's format. Stories use only wordings and numbers of the training split, so
the base has never seen a validation or test problem. Bare equations ("13+24=37.") use all numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.data.synthetic import words
from bench.data.synthetic.draw import Draw
from bench.data.synthetic.stories import (
    CHAIN_EVENTS,
    CHAIN_OPENINGS,
    DISTRACTORS,
    NAMES,
    OBJECTS,
    SCENARIOS,
    compute,
    draw_numbers,
    draw_wording,
    equation,
    next_step,
    numbers,
    people_and_things,
)

LARGEST = 99


def documents(seed: int) -> Iterator[str]:
    """An infinite stream of documents of one to five lines, determined by the seed."""
    draw = Draw("corpus", seed)
    makers, weights = zip(*LINES, strict=True)
    while True:
        lines = draw.integer(1, 5)
        yield "\n".join(draw.weighted(makers, weights)(draw) for _ in range(lines))


def fact(draw: Draw) -> str:
    """Three to eight bare equations."""
    return " ".join(_any_equation(draw) for _ in range(draw.integer(3, 8)))


def announced_facts(draw: Draw) -> str:
    """Bare equations between the phrases that surround a story's equations.

    Without these lines the base knows the equations of held-out numbers only in lists, and fails
    to use them in stories.
    """
    return _announced(draw, [_any_equation(draw) for _ in range(draw.integer(1, 3))])


def chained_equations(draw: Draw) -> str:
    """Equations that each continue from the previous result: "22-14=8. 8*3=24."."""
    value, equations = draw.integer(2, 60), []
    for _ in range(draw.integer(2, 5)):
        operation, operand = next_step(draw, value, LARGEST, split=None)
        equations.append(equation(value, operation, operand))
        value = compute(value, operation, operand)
    return " ".join(equations)


def recap(draw: Draw) -> str:
    """A story without equations, followed by all its equations."""
    events, equations = _story(draw)
    return f"{' '.join(events)} {_announced(draw, equations)}"


def inline_story(draw: Draw) -> str:
    """A one-step story with its equation, and its result as a statement."""
    events, step, closing = one_step_story(draw)
    return f"{' '.join(events)} {step} {closing}"


FILLERS = (
    "{n} {v} the {a} {o}.",
    "{n} {v} {a} {o} at the {l}.",
    "The {o} in the {l} are {a}.",
    "At the {l} {n} {v} {o} and {n2} {v2} the {c}.",
    "The {p} of {n} have {a} {o}.",
)


def filler(draw: Draw) -> str:
    """Two to four sentences without numbers, for the long tail of words."""
    sentences = []
    for _ in range(draw.integer(2, 4)):
        name, thing = draw.zipf(NAMES), draw.zipf(OBJECTS)
        sentences.append(
            draw.choice(FILLERS).format(
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


COMPARISONS = (
    "{large} is more than {small}.",
    "{small} is less than {large}.",
    "{large} is {by} more than {small}.",
    "{small} is {by} fewer than {large}.",
)


def comparison(draw: Draw) -> str:
    """Statements about which of two numbers is larger, and by how much."""
    sentences = []
    for _ in range(draw.integer(2, 4)):
        x, y = draw.integer(2, LARGEST), draw.integer(2, LARGEST)
        form = f"{x} is as much as {y}." if x == y else draw.choice(COMPARISONS)
        sentences.append(form.format(large=max(x, y), small=min(x, y), by=abs(x - y)))
    return " ".join(sentences)


def counting(draw: Draw) -> str:
    """Numbers with a fixed step, up or down."""
    step, start = draw.choice((1, 1, 1, 2, 3, 5, 10)), draw.integer(1, 60)
    run = [start + step * i for i in range(draw.integer(4, 8))]
    return " ".join(map(str, run if draw.chance(0.7) else reversed(run))) + "."


UNITS = (
    ("weeks", 7, "days"),
    ("dozens", 12, "pieces"),
    ("years", 12, "months"),
    ("hours", 60, "minutes"),
    ("dollars", 100, "cents"),
)


def units(draw: Draw) -> str:
    """A conversion between units."""
    count = draw.integer(2, 12)
    big, size, small = draw.choice(UNITS)
    return f"{count} {big} are {count * size} {small}. {equation(count, '*', size)}"


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

INTROS = {"": 5, "Step by step: ": 4, "In numbers: ": 3, "Now count. ": 2, "Written out: ": 2}
TAILS = {"": 5, " So it is {z}.": 3, " That makes {z}.": 2, " It comes to {z}.": 2}


def _announced(draw: Draw, equations: list[str]) -> str:
    result = equations[-1].rstrip(".").split("=")[1]
    intro, tail = (draw.weighted([*forms], [*forms.values()]) for forms in (INTROS, TAILS))
    return f"{intro}{' '.join(equations)}{tail.format(z=result)}"


def _any_equation(draw: Draw) -> str:
    operation = draw.weighted("+-*/", (4, 5, 4, 4))
    x, y = numbers(draw, operation, LARGEST)
    return equation(x, operation, y)


def one_step_story(draw: Draw) -> tuple[list[str], str, str]:
    """A story's sentences, its one equation, and its result as a sentence."""
    scenario = draw.choice(SCENARIOS)
    opening, event, _ = draw_wording(draw, scenario, "train")
    x, y, irrelevant = draw_numbers(draw, scenario.operation, LARGEST, "train")
    z = compute(x, scenario.operation, y)
    slots = people_and_things(draw) | {"x": x, "y": y, "z": z, "d": irrelevant}
    parts = [scenario.openings[opening], scenario.events[event]]
    if draw.chance(0.5):
        parts.insert(draw.integer(0, 2), draw.choice(DISTRACTORS))
    closing = draw.choice(scenario.closings).format(**slots)
    return [part.format(**slots) for part in parts], equation(x, scenario.operation, y), closing


def _story(draw: Draw) -> tuple[list[str], list[str]]:
    if draw.chance(0.4):
        events, step, _ = one_step_story(draw)
        return events, [step]
    slots = people_and_things(draw)
    value = draw.integer(2, 60)
    events = [draw.choice(CHAIN_OPENINGS).format(**slots, x=value)]
    equations = []
    for _ in range(draw.integer(1, 4)):
        operation, operand = next_step(draw, value, LARGEST, split="train")
        form = draw.choice(STATED_EVENTS[operation])
        events.append(form.format(**people_and_things(draw, slots), y=operand))
        equations.append(equation(value, operation, operand))
        value = compute(value, operation, operand)
    if draw.chance(0.25):
        distractor = draw.choice(DISTRACTORS).format(**slots, d=draw.integer(2, 30))
        events.insert(draw.integer(1, len(events)), distractor)
    return events, equations


# The corpus also has events after which a question would be ambiguous about whose things it counts.
STATED_EVENTS = CHAIN_EVENTS | {
    "*": [*CHAIN_EVENTS["*"], "{m} has {y} times as many."],
    "/": ["{n} shares them equally among {y} {p} and looks at one share.", CHAIN_EVENTS["/"][0]],
}
