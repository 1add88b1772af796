"""ARC-Challenge: science questions that retrieval and co-occurrence fail on (Clark et al. 2018).

Test: the 1,172 rows of LLM-Adapters' dataset/ARC-Challenge/test.json, nearly all with four answers.

Chance: about 25%; majority class: 26.5%.
"""

from bench.tasks.task import ANSWERS, Task

TASK = Task("ARC-Challenge", "ARC-c", answer="choice", choices=ANSWERS, chance=25.0)
