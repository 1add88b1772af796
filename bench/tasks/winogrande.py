"""WinoGrande: choose the noun that a blank refers to (Sakaguchi et al. 2020).

Test: the 1,267 rows of LLM-Adapters' dataset/winogrande/test.json.

Chance: 50.0%; majority class: 50.4%.
"""

from bench.tasks.task import Task

TASK = Task(
    "winogrande", "WinoGrande", answer="choice", choices=("option1", "option2"), chance=50.0
)
