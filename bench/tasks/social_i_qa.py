"""Social IQa: motives and consequences of everyday actions (Sap et al. 2019).

Test: the 1,954 rows of LLM-Adapters' dataset/social_i_qa/test.json, three answers each.

Chance: 33.3%; majority class (answer3): 33.6%.
"""

from bench.tasks.task import ANSWERS, Task

TASK = Task("social_i_qa", "SIQA", answer="choice", choices=ANSWERS[:3], chance=100 / 3)
