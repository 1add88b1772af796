"""ARC-Easy: school science questions (Clark et al. 2018).

Test: the 2,376 rows of LLM-Adapters' dataset/ARC-Easy/test.json. Nearly all have four answers; the
gold answer of one row is its fifth.

Chance: about 25%; majority class: 26.6%.
"""

from bench.tasks.task import ANSWERS, Task

TASK = Task("ARC-Easy", "ARC-e", answer="choice", choices=ANSWERS, chance=25.0)
