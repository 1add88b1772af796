"""BoolQ: yes-no questions that people typed into a search engine (Clark et al. 2019).

Test: the 3,270 rows of LLM-Adapters' dataset/boolq/test.json. The passage that answers a question
is no part of its instruction there, so that the model answers from what it knows.

Guessing gets 50.0%; always saying true, the more frequent gold answer, gets 62.2%.
"""

from bench.tasks.task import Task

TASK = Task(
    key="boolq",
    label="BoolQ",
    answer="choice",
    choices=("true", "false"),
    chance=50.0,
)
