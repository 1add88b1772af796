"""Our test sets as task files for lm-eval, which need nothing of this project.

Each set becomes a YAML and a JSONL with its prompts. lm-eval's stock filters read the answer, so
that no code comes with the files: letters and choices exactly by the protocol's rule, numbers as
`extract_number` does. One thing they can't say: that numbers within a tolerance are equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench import tasks
from bench.data.problems import Problem
from bench.data.prompts import Protocol, evaluation_text, new_tokens
from bench.errors import InputError
from bench.evaluation.answers import LETTER_PATTERNS
from bench.files import write_text

# extract_number deletes all commas and then seeks `-?\d+\.?\d*`: the same numbers, commas and all.
NUMBER = r"-?,*\d[\d,]*\.?[\d,]*"

# Deleted from what was found before it is compared, one after another: commas, a point without
# decimals, zeros behind up to four decimals, the minus of a zero, zeros in front.
SPELLING = (
    ",",
    r"\.0*$",
    r"(?<=\.\d)0+$|(?<=\.\d\d)0+$|(?<=\.\d\d\d)0+$|(?<=\.\d\d\d\d)0+$",
    r"^-(?=0+$)",
    r"^0+(?=\d)|(?<=^-)0+(?=\d)",
)

HEADER = """\
# {rows} problems of {key}, asked as hyplora-bench asks them under protocol={protocol}:
#   lm_eval --model hf --model_args pretrained=MODEL --include_path FOLDER --tasks {name}
# (--tasks {tag} takes all sets of this protocol.) Tried with lm-eval 0.4.13.
{exactness}
# A prompt that leaves no room for an answer is wrong there; lm-eval cuts its beginning off.
# lm-eval finds the rows by their absolute path alone: mend it where the folder moves.
"""
LETTERS = """\
# The letter is read exactly as hyplora-bench reads it (protocol.letter_rule={rule})."""
CHOICES = """\
# The choice is read exactly as hyplora-bench reads it (protocol.choice_rule={rule})."""
NUMBERS = """\
# NOT EXACT: hyplora-bench counts a number within {tolerance:g} of the answer as right, exact_match
# wants the same number, however it is spelled (8, 8.0, 1,008): 0.333 for 0.3333 is right there and
# wrong here. Of the {rows} answers {fractions} are not whole."""


def write_tasks(
    tests: Mapping[str, Sequence[Problem]], protocol: Protocol, folder: Path
) -> list[str]:
    """Write a YAML and a JSONL for each test set.

    Args:
        tests: test rows by benchmark.
        protocol: prompt, length and answer rule.
        folder: that lm-eval's --include_path will name; made if it is not there.

    Returns:
        The names of the tasks.

    Raises:
        InputError: the folder can't be made, or the protocol searches with beams.
    """
    if protocol.num_beams > 1:
        raise InputError(
            f"protocol={protocol.name} searches with {protocol.num_beams} beams, and what ends an "
            "answer in lm-eval watches one of them alone: give protocol.num_beams=1"
        )
    folder = folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"action.folder={folder} can't be made: {error}") from error
    return [_write(key, problems, protocol, folder) for key, problems in tests.items()]


def letter_regex(rule: str) -> str:
    """A letter rule as one regular expression: its one match holds the letter in one of its groups.

    A rule's first pattern that is found anywhere decides, by its last match. So the alternatives
    are tried in their order, each as a run of matches from the text's beginning, one after another
    as `findall` takes them: of "answer is answer is A" it takes the "a" of the second "answer".

    Raises:
        KeyError: no such rule.
    """
    if rule == "first":
        return r"\A[^A-E]*([A-E])"
    alternatives = [
        f"(?i:{pattern.pattern})" if pattern.flags & re.IGNORECASE else pattern.pattern
        for pattern in LETTER_PATTERNS[rule]
    ]
    runs = []
    for one in alternatives:
        here = one.replace("([A-E])", "[A-E]")  # sought, not captured
        runs.append(f"(?:(?:(?!{here})(?s:.))*{one})+")
    return r"\A(?:" + "|".join(runs) + ")"


def choice_regex(words: Sequence[str], rule: str) -> str:
    """A choice rule as one regular expression: its one match ends with the first of the words."""
    either = "|".join(map(re.escape, words))
    return r"\A(?s:.*?)(" + (f"(?ai:{either})" if rule == "lower" else either) + ")"


def plain_number(answer: str) -> str:
    """A gold answer as SPELLING leaves a number: "1,008.50" as "1008.5"."""
    number = Decimal(answer.replace(",", "")).normalize()
    return format(number if number else abs(number), "f")


def _write(key: str, problems: Sequence[Problem], protocol: Protocol, folder: Path) -> str:
    import yaml

    tag = _name(f"hyplora_{protocol.name}")
    name = _name(f"{tag}_{key}")
    task = tasks.describe(key, problems[0].answer)
    numbers = task.answer == "number"
    answers = [plain_number(p.answer) if numbers else p.answer for p in problems]
    rows = [
        {"index": index, "prompt": evaluation_text(problem, protocol), "answer": answer}
        for index, (problem, answer) in enumerate(zip(problems, answers, strict=True))
    ]
    data = folder / f"{name}.jsonl"
    write_text(data, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    metric: dict[str, Any] = {"metric": "exact_match", "aggregation": "mean"}
    metric["higher_is_better"] = True
    pattern, exactness, rule = NUMBER, NUMBERS, ""
    if numbers:
        metric["regexes_to_ignore"] = list(SPELLING)
    elif task.answer == "letter":
        rule, exactness = protocol.letter_rule, LETTERS
        pattern = letter_regex(rule)
    else:
        rule, exactness = protocol.choice_rule, CHOICES
        pattern = choice_regex(task.sought, rule)
        if rule == "lower":
            metric["ignore_case"] = True
    settings = {
        "task": name,
        "tag": tag,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": 0,
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        # Mostly no text ends an answer: lm-eval stops at the end-of-sequence token by itself.
        "generation_kwargs": {
            "until": [protocol.answer_end] if protocol.answer_end else [],
            "do_sample": False,
            "max_gen_toks": max(new_tokens(problem, protocol) for problem in problems),
        },
        "filter_list": [
            {
                "name": "answer",
                "filter": [
                    {"function": "regex", "regex_pattern": pattern, "group_select": -1},
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [metric],
        "metadata": {"version": 1.0},
    }
    told = {"rows": len(rows), "rule": rule, "tolerance": protocol.tolerance}
    told["fractions"] = sum("." in answer for answer in answers)
    exactness = exactness.format(**told)
    header = HEADER.format(
        key=key, protocol=protocol.name, name=name, tag=tag, rows=len(rows), exactness=exactness
    )
    body = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=1000)
    write_text(folder / f"{name}.yaml", header + body)
    return name


def _name(text: str) -> str:
    return re.sub(r"[^\w.-]", "_", text)
