"""Synthetic word problems in LLM-Adapters' row format, one family for each benchmark's form.

Training, validation and test share neither a combination of wordings nor a set of numbers (see
`draw.split_of`). The rows depend on the arguments alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.data.synthetic.draw import SPLITS, Draw, split_of
from bench.data.synthetic.stories import (
    CHAIN_EVENTS,
    CHAIN_OPENINGS,
    CHAIN_QUESTIONS,
    DISTRACTORS,
    MAX_TRIES,
    SCENARIOS,
    compute,
    draw_numbers,
    draw_wording,
    equation,
    next_step,
    number_split,
    people_and_things,
)
from bench.errors import InputError, unknown
from bench.tasks.task import LETTERS

Row = dict[str, str]


@dataclass(frozen=True)
class Difficulty:
    """Difficulty of the problems.

    Attributes:
        largest: largest number in a sum or difference.
        mawps_steps: maximum number of equations of a mawps problem.
        svamp_distractors: number of distractor sentences of a SVAMP problem.
        gsm8k_steps: maximum number of equations of a gsm8k problem.
        aqua_steps: maximum number of equations of an AQuA problem.
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
                raise InputError(f"data.{name} must be between {least} and {most}, got {value}")


@dataclass(frozen=True)
class WordProblem:
    """A question, its equations, its result, and the numbers of its text without distractors."""

    text: str
    equations: list[str]
    result: int
    numbers: tuple[int, ...]

    @property
    def row(self) -> Row:
        """The row if the answer is the result itself."""
        return {
            "instruction": self.text,
            "input": "",
            "output": f"{' '.join(self.equations)} The answer is {self.result}.",
            "answer": str(self.result),
        }


def chain(draw: Draw, split: str, difficulty: Difficulty) -> Row:
    """A problem of two or more equations, each of which uses the result of the one before."""
    steps = draw.integer(2, difficulty.gsm8k_steps)
    return _chain(draw, split, difficulty.largest, steps).row


def choice(draw: Draw, split: str, difficulty: Difficulty) -> Row:
    """A problem with five options (A) to (E), the correct one at a uniformly random position.

    The wrong options are results of a wrong operation, numbers of the text, and near misses.
    """
    problem = _up_to(draw, split, difficulty.largest, difficulty.aqua_steps)
    result = problem.result
    options = draw.shuffled([result, *_wrong_options(draw, problem)])
    letter = LETTERS[options.index(result)]
    shown = " ".join(f"({a}) {v}" for a, v in zip(LETTERS, options, strict=True))
    return {
        "instruction": f"{problem.text} Answer Choices: {shown}",
        "input": "",
        "output": f"{' '.join(problem.equations)} {result} is {letter}. The answer is {letter}.",
        "answer": letter,
    }


FAMILIES: dict[str, Callable[[Draw, str, Difficulty], Row]] = {
    "mawps": lambda draw, split, d: _up_to(draw, split, d.largest, d.mawps_steps).row,
    "SVAMP": lambda draw, split, d: _one_step(draw, split, d.largest, d.svamp_distractors).row,
    "gsm8k": chain,
    "AQuA": choice,
}


def generate(
    family: str, split: str, count: int, seed: int, difficulty: Difficulty | None = None
) -> list[Row]:
    """Generate `count` different problems of a family (a key of `FAMILIES`) for one split.

    The split of a wording or of numbers does not depend on the seed.

    Raises:
        InputError: the family or split is unknown, or fewer than `count` different problems exist.
    """
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    difficulty = difficulty or Difficulty()
    draw = Draw("problems", family, split, seed, difficulty.largest)
    rows: dict[str, Row] = {}
    for _ in range(count + MAX_TRIES):
        if len(rows) == count:
            break
        row = FAMILIES[family](draw, split, difficulty)
        rows.setdefault(row["instruction"], row)
    if len(rows) < count:
        raise InputError(
            f"only {len(rows)} different {family} problems exist for the {split} split, "
            f"{count} were requested"
        )
    return list(rows.values())


def _up_to(draw: Draw, split: str, largest: int, most: int) -> WordProblem:
    steps = draw.integer(1, most)
    if steps == 1:
        return _one_step(draw, split, largest, distractors=0)
    return _chain(draw, split, largest, steps)


def _one_step(draw: Draw, split: str, largest: int, distractors: int) -> WordProblem:
    scenario = draw.choice(SCENARIOS)
    opening, event, question = draw_wording(draw, scenario, split)
    x, y, *irrelevant = draw_numbers(draw, scenario.operation, largest, split, max(1, distractors))
    slots = people_and_things(draw) | {"x": x, "y": y}
    parts = [scenario.openings[opening], scenario.events[event], scenario.questions[question]]
    for form, number in zip(_some(draw, DISTRACTORS, distractors), irrelevant, strict=False):
        parts.insert(draw.integer(0, len(parts) - 1), form.replace("{d}", str(number)))
    return WordProblem(
        " ".join(parts).format(**slots),
        [equation(x, scenario.operation, y)],
        compute(x, scenario.operation, y),
        (x, y),
    )


def _some(draw: Draw, options: Sequence[str], count: int) -> list[str]:
    chosen: list[str] = []
    while len(chosen) < count:
        option = draw.choice(options)
        if option not in chosen:
            chosen.append(option)
    return chosen


def _chain(draw: Draw, split: str, largest: int, steps: int) -> WordProblem:
    """A story of `steps` equations.

    The numbers of every equation belong to the split, so that no part of a test problem's chain
    occurs in a longer training story.
    """
    for _ in range(MAX_TRIES):
        try:
            start, taken = _chain_numbers(draw, steps, largest, split)
        except ValueError:  # no numbers of the split continue from some value
            continue
        wording = (
            draw.integer(0, len(CHAIN_OPENINGS) - 1),
            *(draw.integer(0, len(CHAIN_EVENTS[operation]) - 1) for operation, _ in taken),
            draw.integer(0, len(CHAIN_QUESTIONS) - 1),
        )
        numbers = (start, *(operand for _, operand in taken))
        operations = "".join(operation for operation, _ in taken)
        if split_of("chain", operations, *wording) == split == number_split(*numbers):
            break
    else:
        raise InputError(f"no chain of {steps} steps up to {largest} belongs to the {split} split")
    person = people_and_things(draw)
    texts = [CHAIN_OPENINGS[wording[0]].format(**person, x=start)]
    value, equations = start, []
    for (operation, operand), event in zip(taken, wording[1:-1], strict=True):
        slots = people_and_things(draw, person)
        texts.append(CHAIN_EVENTS[operation][event].format(**slots, y=operand))
        equations.append(equation(value, operation, operand))
        value = compute(value, operation, operand)
    texts.append(CHAIN_QUESTIONS[wording[-1]].format(**person))
    return WordProblem(" ".join(texts), equations, value, numbers)


def _chain_numbers(
    draw: Draw, steps: int, largest: int, split: str
) -> tuple[int, list[tuple[str, int]]]:
    value = start = draw.integer(5, min(60, largest))
    taken = []
    for _ in range(steps):
        taken.append(next_step(draw, value, largest, split))
        value = compute(value, *taken[-1])
    return start, taken


def _wrong_options(draw: Draw, problem: WordProblem) -> list[int]:
    x, y = problem.numbers[:2]
    plausible = draw.shuffled([x + y, abs(x - y), x * y, *problem.numbers])
    wrong = [v for v in dict.fromkeys(plausible) if v not in (0, problem.result)][:2]
    while len(wrong) < 4:
        near = problem.result + draw.choice((-10, -3, -2, -1, 1, 2, 3, 10))
        if near > 0 and near != problem.result and near not in wrong:
            wrong.append(near)
    return wrong
