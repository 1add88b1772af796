"""Synthetic word problems in LLM-Adapters' row form, one family for each benchmark's shape.

Families: `mawps` asks one step; `SVAMP` asks one step beside a sentence whose number does not
matter, with unknowns in every place; `gsm8k` asks two to four steps and writes them out. Training,
validation and test are disjoint twice over: no combination of wordings, and no set of numbers,
stands in two of them (`draw.split_of` decides). What a family yields depends on its arguments
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

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

Row = dict[str, str]


def one_step(draw: Draw, split: str, largest: int) -> Row:
    """A problem of one equation, with no more in it than is needed."""
    return _problem(draw, split, largest, distracted=False)


def one_step_with_distractor(draw: Draw, split: str, largest: int) -> Row:
    """A problem of one equation beside a sentence with a number that does not matter."""
    return _problem(draw, split, largest, distracted=True)


def chain(draw: Draw, split: str, largest: int) -> Row:
    """A problem of two to four equations, each of which goes on from the result before.

    Every equation's numbers are of the split, so that no part of a test problem's chain stands in
    a longer story that was trained on.
    """
    steps = draw.integer(2, 4)
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
    values = [start, *results]
    equations = " ".join(
        f"{value}{operation}{operand}={result}."
        for value, (operation, operand), result in zip(values, taken, results, strict=False)
    )
    return {
        "instruction": " ".join(texts),
        "input": "",
        "output": f"{equations} The answer is {results[-1]}.",
        "answer": str(results[-1]),
    }


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


FAMILIES: dict[str, Callable[[Draw, str, int], Row]] = {
    "mawps": one_step,
    "SVAMP": one_step_with_distractor,
    "gsm8k": chain,
}


def generate(family: str, split: str, count: int, seed: int, largest: int = 99) -> list[Row]:
    """`count` different problems of a family from one split.

    Args:
        family: a key of `FAMILIES`.
        split: `train`, `validation` or `test`.
        count: how many rows; no two have the same text.
        seed: of the draw; the split of a wording or of numbers does not depend on it.
        largest: the largest number in a sum or difference: the difficulty.

    Returns:
        Rows with the keys `instruction, input, output, answer`, as LLM-Adapters' files have.

    Raises:
        ValueError: an unknown family or split, `largest` below 20, or fewer than `count`
            different problems exist.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family '{family}': there are {', '.join(FAMILIES)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}': there are {', '.join(SPLITS)}")
    if largest < 20:
        raise ValueError(f"data.largest must be at least 20, got {largest}")
    rows: dict[str, Row] = {}
    for row in _stream(family, split, seed, largest, tries=count + MAX_TRIES):
        if len(rows) == count:
            break
        rows.setdefault(row["instruction"], row)
    if len(rows) < count:
        raise ValueError(
            f"only {len(rows)} different {family} problems were found for {split}, "
            f"{count} were asked for"
        )
    return list(rows.values())


def _stream(family: str, split: str, seed: int, largest: int, tries: int) -> Iterator[Row]:
    draw = Draw("problems", family, split, seed, largest)
    for _ in range(tries):
        yield FAMILIES[family](draw, split, largest)


def _problem(draw: Draw, split: str, largest: int, distracted: bool) -> Row:
    scenario = draw.choice(SCENARIOS)
    opening, event, question = draw_wording(draw, scenario, split)
    x, y, irrelevant = draw_numbers(draw, scenario.operation, largest, split)
    z = compute(x, scenario.operation, y)
    slots = people_and_things(draw) | {"x": x, "y": y, "d": irrelevant}
    parts = [scenario.openings[opening], scenario.events[event], scenario.questions[question]]
    if distracted:
        parts.insert(draw.integer(0, 2), draw.choice(DISTRACTORS))
    return {
        "instruction": " ".join(parts).format(**slots),
        "input": "",
        "output": f"{x}{scenario.operation}{y}={z}. The answer is {z}.",
        "answer": str(z),
    }
