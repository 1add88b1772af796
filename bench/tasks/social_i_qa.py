"""Social IQa: why people do what they do, and what comes of it (Sap et al. 2019).

Test: the 1,954 rows of LLM-Adapters' dataset/social_i_qa/test.json, three answers each.

Guessing gets 33.3%; always saying answer3 gets 33.6%.
"""

from bench.tasks.task import Task

TASK = Task(
    key="social_i_qa",
    label="SIQA",
    answer="choice",
    choices=("answer1", "answer2", "answer3"),
    chance=100 / 3,
)
