"""OpenBookQA: elementary science questions (Mihaylov et al. 2018).

Test: the 500 rows of LLM-Adapters' dataset/openbookqa/test.json, four answers each; the
instructions do not include the facts that the questions are about. Training:
dataset/openbookqa/train.json.

Chance: 25.0%; majority class (answer1): 27.6%.
"""

from bench.tasks.task import ANSWERS, Task

TASK = Task("openbookqa", "OBQA", answer="choice", choices=ANSWERS[:4], chance=25.0)
