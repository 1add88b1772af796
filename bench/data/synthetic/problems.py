"""Synthetic word problems in LLM-Adapters' row form, one family for each benchmark's shape.

Families: `mawps` asks one step; `SVAMP` asks one step beside a sentence whose number does not
matter, with unknowns in every place. Training, validation and test are disjoint twice over:
no combination of opening, event and question, and no set of numbers, stands in two of them
(`draw.split_of` decides). What a family yields depends on its arguments alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.data.synthetic.draw import SPLITS, Draw
from bench.data.synthetic.scenarios import DISTRACTORS, SCENARIOS
from bench.data.synthetic.stories import (
    MAX_TRIES,
    compute,
    draw_numbers,
    draw_wording,
    people_and_things,
)

Row = dict[str, str]


def one_step(draw: Draw, split: str, largest: int) -> Row:
    """A problem of one equation, with no more in it than is needed."""
    return _problem(draw, split, largest, distracted=False)


def one_step_with_distractor(draw: Draw, split: str, largest: int) -> Row:
    """A problem of one equation beside a sentence with a number that does not matter."""
    return _problem(draw, split, largest, distracted=True)


FAMILIES: dict[str, Callable[[Draw, str, int], Row]] = {
    "mawps": one_step,
    "SVAMP": one_step_with_distractor,
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
