"""Synthetic word problems in LLM-Adapters' row form, one family for each benchmark's shape.

Families: `mawps` asks one step or two; `SVAMP` asks one step beside a sentence whose number does
not matter, with unknowns in every place; `gsm8k` asks two steps or more and writes them out; `AQuA`
asks for one of five options. Training, validation and test are disjoint twice over: no combination
of wordings, and no set of numbers, stands in two of them (`draw.split_of` decides). What a family
yields depends on its arguments alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.data.synthetic.draw import SPLITS, Draw, split_of
from bench.data.synthetic.scenarios import (
    CHAIN_EVENTS,
    CHAIN_OPENINGS,
    CHAIN_QUESTIONS,
    DISTRACTORS,
    SCENARIOS,
)
from bench.data.synthetic.stories import (
    MAX_TRIES,
    compute,
    draw_numbers,
    draw_wording,
    next_step,
    number_split,
    people_and_things,
)
from bench.tasks.task import LETTERS

Row = dict[str, str]


@dataclass(frozen=True)
class Difficulty:
    """How hard the problems are.

    Attributes:
        largest: the largest number in a sum or difference.
        mawps_steps: the most equations of a mawps problem.
        svamp_distractors: sentences beside a SVAMP problem whose number does not matter.
        gsm8k_steps: the most equations of a gsm8k problem.
        aqua_steps: the most equations of an AQuA problem.
    """

    largest: int = 99
    mawps_steps: int = 2
    svamp_distractors: int = 1
    gsm8k_steps: int = 4
    aqua_steps: int = 1

    def __post_init__(self) -> None:
        bounds = {
            "largest": (20, 999),
            "mawps_steps": (1, 8),
            "svamp_distractors": (1, len(DISTRACTORS)),
            "gsm8k_steps": (2, 8),
            "aqua_steps": (1, 8),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"data.{name} must be between {least} and {most}, got {value}")


@dataclass(frozen=True)
class Told:
    """A question, the equations that lead to its answer, and the numbers that stand in it."""

    text: str
    equations: list[str]
    result: int
    numbers: tuple[int, ...]


def plain(draw: Draw, split: str, difficulty: Difficulty) -> Row:
    """A problem of few equations, with no more in it than is needed."""
    return _number_row(_told(draw, split, difficulty.largest, difficulty.mawps_steps))


def distracted(draw: Draw, split: str, difficulty: Difficulty) -> Row:
    """A problem of one equation beside sentences with a number that does not matter."""
    return _number_row(_one_step(draw, split, difficulty.largest, difficulty.svamp_distractors))


def chain(draw: Draw, split: str, difficulty: Difficulty) -> Row:
    """A problem of two equations or more, each of which goes on from the result before."""
    steps = draw.integer(2, difficulty.gsm8k_steps)
    return _number_row(_chain(draw, split, difficulty.largest, steps))


def choice(draw: Draw, split: str, difficulty: Difficulty) -> Row:
    """A problem with five options (A) to (E), each as likely to be right as the others.

    The wrong options are what a wrong operation gives, numbers of the text, and near misses.
    """
    told = _told(draw, split, difficulty.largest, difficulty.aqua_steps)
    options = draw.shuffled([told.result, *_wrong_options(draw, told)])
    letter = LETTERS[options.index(told.result)]
    shown = " ".join(f"({a}) {v}" for a, v in zip(LETTERS, options, strict=True))
    return {
        "instruction": f"{told.text} Answer Choices: {shown}",
        "input": "",
        "output": f"{' '.join(told.equations)} {told.result} is {letter}. The answer is {letter}.",
        "answer": letter,
    }


FAMILIES: dict[str, Callable[[Draw, str, Difficulty], Row]] = {
    "mawps": plain,
    "SVAMP": distracted,
    "gsm8k": chain,
    "AQuA": choice,
}


def generate(
    family: str, split: str, count: int, seed: int, difficulty: Difficulty | None = None
) -> list[Row]:
    """`count` different problems of a family from one split.

    Args:
        family: a key of `FAMILIES`.
        split: `train`, `validation` or `test`.
        count: how many rows; no two have the same text.
        seed: of the draw; the split of a wording or of numbers does not depend on it.
        difficulty: see Difficulty; None for its defaults.

    Returns:
        Rows with the keys `instruction, input, output, answer`, as LLM-Adapters' files have.

    Raises:
        ValueError: an unknown family or split, or fewer than `count` different problems exist.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family '{family}': there are {', '.join(FAMILIES)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}': there are {', '.join(SPLITS)}")
    rows: dict[str, Row] = {}
    stream = _stream(family, split, seed, difficulty or Difficulty(), tries=count + MAX_TRIES)
    for row in stream:
        if len(rows) == count:
            break
        rows.setdefault(row["instruction"], row)
    if len(rows) < count:
        raise ValueError(
            f"only {len(rows)} different {family} problems were found for {split}, "
            f"{count} were asked for"
        )
    return list(rows.values())


def _stream(
    family: str, split: str, seed: int, difficulty: Difficulty, tries: int
) -> Iterator[Row]:
    draw = Draw("problems", family, split, seed, difficulty.largest)
    for _ in range(tries):
        yield FAMILIES[family](draw, split, difficulty)


def _number_row(told: Told) -> Row:
    return {
        "instruction": told.text,
        "input": "",
        "output": f"{' '.join(told.equations)} The answer is {told.result}.",
        "answer": str(told.result),
    }


def _told(draw: Draw, split: str, largest: int, most: int) -> Told:
    """A problem of one equation, or of up to `most`, each number of them as likely."""
    steps = draw.integer(1, most)
    if steps == 1:
        return _one_step(draw, split, largest, distractors=0)
    return _chain(draw, split, largest, steps)


def _one_step(draw: Draw, split: str, largest: int, distractors: int) -> Told:
    scenario = draw.choice(SCENARIOS)
    opening, event, question = draw_wording(draw, scenario, split)
    x, y, *irrelevant = draw_numbers(draw, scenario.operation, largest, split, max(1, distractors))
    z = compute(x, scenario.operation, y)
    slots = people_and_things(draw) | {"x": x, "y": y}
    parts = [scenario.openings[opening], scenario.events[event], scenario.questions[question]]
    for form, number in zip(_some(draw, DISTRACTORS, distractors), irrelevant, strict=False):
        parts.insert(draw.integer(0, len(parts) - 1), form.replace("{d}", str(number)))
    text = " ".join(parts).format(**slots)
    return Told(text, [f"{x}{scenario.operation}{y}={z}."], z, (x, y))


def _some(draw: Draw, options: tuple[str, ...], count: int) -> list[str]:
    """`count` different ones of the options."""
    chosen: list[str] = []
    while len(chosen) < count:
        option = draw.choice(options)
        if option not in chosen:
            chosen.append(option)
    return chosen


def _chain(draw: Draw, split: str, largest: int, steps: int) -> Told:
    """A story of so many steps.

    Every equation's numbers are of the split, so that no part of a test problem's chain stands in
    a longer story that was trained on.
    """
    for _ in range(MAX_TRIES):
        try:
            start, taken, results = _chain_numbers(draw, steps, largest, split)
        except ValueError:  # a value from which no numbers of the split go on
            continue
        operations = "".join(operation for operation, _ in taken)
        wording = (
            draw.integer(0, len(CHAIN_OPENINGS) - 1),
            *(draw.integer(0, len(CHAIN_EVENTS[operation]) - 1) for operation in operations),
            draw.integer(0, len(CHAIN_QUESTIONS) - 1),
        )
        whole = number_split(start, *(operand for _, operand in taken))
        if split_of("chain", operations, *wording) == split == whole:
            break
    else:
        raise ValueError(f"no chain of {steps} steps up to {largest} belongs to the {split} split")
    person = people_and_things(draw)
    texts = [CHAIN_OPENINGS[wording[0]].format(**person, x=start)]
    for (operation, operand), event in zip(taken, wording[1:-1], strict=True):
        others = people_and_things(draw)
        same = {key: person[key] for key in ("n", "he", "He", "his", "o")}
        texts.append(CHAIN_EVENTS[operation][event].format(**others | same, y=operand))
    texts.append(CHAIN_QUESTIONS[wording[-1]].format(**person))
    equations = [
        f"{value}{operation}{operand}={result}."
        for value, (operation, operand), result in zip(
            [start, *results[:-1]], taken, results, strict=True
        )
    ]
    numbers = (start, *(operand for _, operand in taken))
    return Told(" ".join(texts), equations, results[-1], numbers)


def _chain_numbers(
    draw: Draw, steps: int, largest: int, split: str
) -> tuple[int, list[tuple[str, int]], list[int]]:
    """A start, the (operation, operand) of each step, and the result after each."""
    value = start = draw.integer(5, min(60, largest))
    taken, results = [], []
    for _ in range(steps):
        operation, operand = next_step(draw, value, largest, split)
        value = compute(value, operation, operand)
        taken.append((operation, operand))
        results.append(value)
    return start, taken, results


def _wrong_options(draw: Draw, told: Told) -> list[int]:
    """Four different positive numbers other than the result: two plausible ones, two near it."""
    x, y = told.numbers[:2]
    plausible = [x + y, abs(x - y), x * y, *told.numbers]
    wrong = [v for v in dict.fromkeys(draw.shuffled(plausible)) if v not in (0, told.result)][:2]
    while len(wrong) < 4:
        near = told.result + draw.choice((-10, -3, -2, -1, 1, 2, 3, 10))
        if near > 0 and near != told.result and near not in wrong:
            wrong.append(near)
    return wrong
