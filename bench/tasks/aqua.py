"""AQuA: algebra problems with five options (Ling et al. 2017).

Test: the 254 rows of LLM-Adapters' dataset/AQuA/test.json. The instruction ends with the options,
`Answer Choices: (A) 23.65 (B) 1000 (C) 35.62 (D) 2.65 (E) 1023.65`; the gold answer is a letter.
A row's `output` is a teacher's rationale. It gives the gold letter in only about half of the rows;
the others have no likelihood.

Chance: 20.0%; majority class (A): 24.8%.
"""

from bench.tasks.task import Task

TASK = Task(key="AQuA", label="AQuA", answer="letter", chance=20.0)
