"""OpenBookQA: elementary science facts put to use (Mihaylov et al. 2018).

Test: the 500 rows of LLM-Adapters' dataset/openbookqa/test.json, four answers each; the facts that
a question is made from are no part of its instruction. Training: dataset/openbookqa/train.json.

Guessing gets 25.0%; always saying answer1 gets 27.6%.
"""

from bench.tasks.task import Task

TASK = Task(
    key="openbookqa",
    label="OBQA",
    answer="choice",
    choices=("answer1", "answer2", "answer3", "answer4"),
    chance=25.0,
)
