"""PIQA: which of two ways of doing an everyday thing works (Bisk et al. 2020).

Test: the 1,838 rows of LLM-Adapters' dataset/piqa/test.json, with the solutions in the instruction.

Guessing gets 50.0%; always saying solution2 gets 50.5%.
"""

from bench.tasks.task import Task

TASK = Task(
    key="piqa",
    label="PIQA",
    answer="choice",
    choices=("solution1", "solution2"),
    chance=50.0,
)
