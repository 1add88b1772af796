"""SVAMP: one-step word problems, varied so that shallow heuristics fail (Patel et al. 2021).

Test: the 1,000 rows of LLM-Adapters' dataset/SVAMP/test.json.
"""

from bench.tasks.task import Task

TASK = Task(key="SVAMP", label="SVAMP")
