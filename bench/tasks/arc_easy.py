"""ARC, the easy part: school science questions (Clark et al. 2018).

Test: the 2,376 rows of LLM-Adapters' dataset/ARC-Easy/test.json. Nearly all have four answers; the
gold answer of one is its fifth.

Guessing gets about 25%; always giving the most frequent gold answer gets 26.6%.
"""

from bench.tasks.task import Task

TASK = Task(
    key="ARC-Easy",
    label="ARC-e",
    answer="choice",
    choices=("answer1", "answer2", "answer3", "answer4", "answer5"),
    chance=25.0,
)
