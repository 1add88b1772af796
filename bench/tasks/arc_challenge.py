"""ARC, the hard part: questions that look-up and word statistics fail on (Clark et al. 2018).

Test: the 1,172 rows of LLM-Adapters' dataset/ARC-Challenge/test.json. Nearly all have four answers.

Guessing gets about 25%; always giving the most frequent gold answer gets 26.5%.
"""

from bench.tasks.task import Task

TASK = Task(
    key="ARC-Challenge",
    label="ARC-c",
    answer="choice",
    choices=("answer1", "answer2", "answer3", "answer4", "answer5"),
    chance=25.0,
)
