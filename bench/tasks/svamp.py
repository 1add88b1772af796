"""SVAMP: one-step word problems, varied so that shallow heuristics fail (Patel et al. 2021).

Test: the 1,000 rows of LLM-Adapters' dataset/SVAMP/test.json. They are variations of
100 problems: some share a body but differ in question or numbers.
"""

import re

from bench.tasks.task import Task

_LAST_SENTENCE = re.compile(r"(?<=[.!?])\s+[^.!?]*[.!?]?\s*$")
_NUMBER = re.compile(r"\d[\d,.]*\b")


def body(question: str) -> str:
    """The text before the last sentence, with numbers masked; all of a single sentence.

    >>> body("Ed had 30 more marbles than Doug. If Ed lost 21. How many does he have?")
    'ed had 0 more marbles than doug. if ed lost 0.'
    """
    return _NUMBER.sub("0", _LAST_SENTENCE.sub("", question.strip())).casefold()


TASK = Task(key="SVAMP", label="SVAMP", cluster=body)
