"""PIQA: choose the physically plausible of two solutions (Bisk et al. 2020).

Test: the 1,838 rows of LLM-Adapters' dataset/piqa/test.json; the solutions are part of the
instruction.

Chance: 50.0%; majority class (solution2): 50.5%.
"""

from bench.tasks.task import Task

TASK = Task("piqa", "PIQA", answer="choice", choices=("solution1", "solution2"), chance=50.0)
