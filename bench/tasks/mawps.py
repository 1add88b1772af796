"""MAWPS: word problems of one or two steps (Koncel-Kedziorski et al. 2016).

Test: the 238 rows of LLM-Adapters' dataset/mawps/test.json; 38 gold answers are not integers.
Training: dataset/mawps/trainset.json, whose rows have an equation instead of a rationale:
`{"original_text": "...", "equation": "X=((22.0-14.0)/4.0)", "ans": 2.0}`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from typing import Any

from bench.tasks.task import Row, Task, read_text, training_row

_OPERATIONS = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
}


def train_row(raw: Mapping[str, Any]) -> Row:
    """The equation as the rationale, followed by the answer sentence."""
    if "instruction" in raw:
        return training_row(raw)
    answer = float(read_text("ans", raw["ans"]))
    shown = str(int(answer)) if answer.is_integer() else str(answer)
    return {
        "instruction": read_text("original_text", raw["original_text"]).strip(),
        "input": "",
        "output": f"{read_text('equation', raw['equation'])}\nThe answer is {shown}.",
        "answer": shown,
    }


def train_row_in_steps(raw: Mapping[str, Any]) -> Row:
    """As `train_row`, with the equation worked out: a line `22 - 14 = 8` for each operation.

    2% of the equations stay as they are: they do not have `x` alone on the left, have no operation,
    or a result that differs from the row's answer by more than 0.1%, which may be rounded.

    Raises:
        KeyError: the row has no equation, or has a solution as well.
    """
    if "equation" not in raw or "instruction" in raw:
        raise KeyError("equation in place of a solution (data.steps=true)")
    row = train_row(raw)
    equation, _, sentence = row["output"].rpartition("\n")
    row["output"] = f"{_worked_out(equation, float(row['answer'])) or equation}\n{sentence}"
    return row


def _worked_out(equation: str, answer: float) -> str | None:
    """The operations of `x=...`, one per line; None if they do not lead to the answer."""
    unknown, _, expression = equation.partition("=")
    lines: list[str] = []
    try:
        result = _value(ast.parse(expression.strip(), mode="eval").body, lines)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None
    right = unknown.strip().lower() == "x" and abs(result - answer) <= 1e-3 * max(1, abs(answer))
    return "\n".join(lines) if right and lines else None


def _value(node: ast.expr, lines: list[str]) -> float:
    """The value of an expression; its operations are added to `lines`, innermost first."""
    match node:
        case ast.Constant(int() | float() as number):
            return float(number)
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand, lines)
        case ast.BinOp(left, op, right) if type(op) in _OPERATIONS:
            sign, apply = _OPERATIONS[type(op)]
            x, y = _value(left, lines), _value(right, lines)
            result = apply(x, y)
            lines.append(f"{_shown(x)} {sign} {_shown(y)} = {_shown(result)}")
            return result
    raise ValueError("not arithmetic")


def _shown(x: float) -> str:
    return f"{round(x, 6) + 0.0:.6f}".rstrip("0").rstrip(".")


TASK = Task(key="mawps", label="MAWPS", train_row=train_row, train_row_in_steps=train_row_in_steps)
