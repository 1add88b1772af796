"""HellaSwag: choose the most plausible of four endings (Zellers et al. 2019).

Test: LLM-Adapters' dataset/hellaswag/test.json; the endings are part of the instruction.
"""

from bench.tasks.task import CHOICES, Task

TASK = Task("hellaswag", "HellaSwag", answer="choice", choices=CHOICES[3], chance=25.0)
