"""WinoGrande: which of two names a sentence means (Sakaguchi et al. 2020).

Test: the 1,267 rows of LLM-Adapters' dataset/winogrande/test.json.

Guessing gets 50.0%; always giving the more frequent gold answer gets 50.4%.
"""

from bench.tasks.task import Task

TASK = Task(
    key="winogrande",
    label="WinoGrande",
    answer="choice",
    choices=("option1", "option2"),
    chance=50.0,
)
