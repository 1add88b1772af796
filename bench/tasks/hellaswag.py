"""HellaSwag: which of four endings goes on with a scene (Zellers et al. 2019).

Test: LLM-Adapters' dataset/hellaswag/test.json, with the endings in the instruction.
"""

from bench.tasks.task import Task

TASK = Task(
    key="hellaswag",
    label="HellaSwag",
    answer="choice",
    choices=("ending1", "ending2", "ending3", "ending4"),
    chance=25.0,
)
