"""What the embedded base must be able to do: arithmetic, and looking up a label in a list."""

from __future__ import annotations

from typing import Any

from bench.data.synthetic.corpus import LARGEST
from bench.data.synthetic.draw import Draw
from bench.data.synthetic.lookup import lookup
from bench.data.synthetic.stories import compute, numbers
from bench.evaluation.generation import generate
from bench.tasks.task import LETTERS

ITEMS = 200


def probe(model: Any, tokenizer: Any) -> dict[str, float]:
    """The shares of `ITEMS` statements each that a model completes correctly, 0 to 1.

    `lookup` is a list of five entries and the first statement about it, up to the label; chance is
    0.2. `+`, `-`, `*` and `/` are equations up to the equals sign, with numbers as in the corpus.
    """
    probes = {"lookup": _lookups(), **{operation: _equations(operation) for operation in "+-*/"}}
    return {name: _share(model, tokenizer, items) for name, items in probes.items()}


def _lookups() -> list[tuple[str, str]]:
    draw = Draw("probe", "lookup")
    items: list[tuple[str, str]] = []
    while len(items) < ITEMS:
        drawn = lookup(draw, options=len(LETTERS), queries=1)
        start, end = drawn.answers[0]
        if drawn.text[start:end] in LETTERS:
            # Without the full stop, which is not part of the answer and was not trained.
            items.append((drawn.text[: start - 1], drawn.text[start - 1 : end]))
    return items


def _equations(op: str) -> list[tuple[str, str]]:
    draw = Draw("probe", op)
    drawn = (numbers(draw, op, LARGEST) for _ in range(ITEMS))
    return [(f"In numbers: {x}{op}{y}=", f"{compute(x, op, y)}.") for x, y in drawn]


def _share(model: Any, tokenizer: Any, items: list[tuple[str, str]]) -> float:
    prompts = {i: tokenizer(prompt)["input_ids"] for i, (prompt, _) in enumerate(items)}
    longest = max(len(tokenizer(end, add_special_tokens=False)["input_ids"]) for _, end in items)
    generated = generate(model, tokenizer, prompts, longest, batch_size=50)
    right = sum(g.text.startswith(items[g.index][1]) for batch in generated for g in batch)
    return right / len(items)
