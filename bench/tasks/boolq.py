"""BoolQ: yes-no questions from search queries (Clark et al. 2019).

Test: the 3,270 rows of LLM-Adapters' dataset/boolq/test.json. Its instructions do not include the
passage, so the model must answer from memory.

Chance: 50.0%; majority class (true): 62.2%.
"""

from bench.tasks.task import Task

TASK = Task("boolq", "BoolQ", answer="choice", choices=("true", "false"), chance=50.0)
