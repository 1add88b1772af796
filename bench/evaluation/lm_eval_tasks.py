"""Export of test sets as self-contained task files for lm-eval, which need no code.

Its stock filters extract letters, choices and numbers exactly by the protocol's rules; only the
tolerance for numbers cannot be expressed.
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
from bench.data.prompts import CHAT, Protocol, evaluation_text, new_tokens
from bench.errors import InputError
from bench.evaluation.answers import LETTER_PATTERNS
from bench.files import write_text

# extract_number deletes commas, then matches `-?\d+\.?\d*`; this matches the same with commas.
NUMBER = r"-?,*\d[\d,]*\.?[\d,]*"

# Deleted in turn before the comparison: commas, a point without decimals, trailing zeros of up to
# four decimals, the minus of a zero, leading zeros.
SPELLING = (
    ",",
    r"\.0*$",
    r"(?<=\.\d)0+$|(?<=\.\d\d)0+$|(?<=\.\d\d\d)0+$|(?<=\.\d\d\d\d)0+$",
    r"^-(?=0+$)",
    r"^0+(?=\d)|(?<=^-)0+(?=\d)",
)

HEADER = """\
# {rows} problems of {key} with the prompts of hyplora-bench's protocol={protocol}:
#   lm_eval --model hf --model_args pretrained=MODEL --include_path FOLDER --tasks {name}{chat}
# (--tasks {tag} runs all sets of this protocol.) Tested with lm-eval 0.4.13.
{exactness}
# hyplora-bench counts a prompt that leaves no room for an answer as wrong; lm-eval truncates it.
# lm-eval needs the absolute path of the rows: update it after moving the folder.
"""
EXACTNESS = {
    "letter": "# Letters are read exactly as by hyplora-bench, protocol.letter_rule={letter_rule}.",
    "choice": "# Choices are read exactly as by hyplora-bench, protocol.choice_rule={choice_rule}.",
    "number": """\
# NOT EXACT: hyplora-bench accepts a number within {tolerance:g} of the answer; exact_match accepts
# only the same number in any spelling (8, 8.0, 1,008). 0.333 for 0.3333 is correct there and wrong
# here. {fractions} of the {rows} answers are not integers.""",
}


def write_tasks(
    tests: Mapping[str, Sequence[Problem]], protocol: Protocol, folder: Path
) -> list[str]:
    """Write a YAML and a JSONL file for each test set into a folder for lm-eval's --include_path.

    Returns:
        The names of the tasks.

    Raises:
        InputError: the folder can't be created, or the protocol uses beam search.
    """
    if protocol.num_beams > 1:
        raise InputError(
            f"protocol={protocol.name} uses {protocol.num_beams} beams, but lm-eval's stop "
            "criterion checks only one of them: give protocol.num_beams=1"
        )
    folder = folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"action.folder={folder} can't be created: {error}") from error
    return [_write(key, problems, protocol, folder) for key, problems in tests.items()]


def letter_regex(rule: str) -> str:
    """A letter rule as one regular expression with the letter in one of its groups.

    The last match of a rule's first matching pattern counts. The alternatives are therefore tried
    in order, each as a sequence of consecutive matches from the start of the text, as `findall`
    finds them: in "answer is answer is A" it finds the "a" of the second "answer".

    Raises:
        KeyError: the rule is unknown.
    """
    if rule == "first":
        return LETTER_PATTERNS[rule][0].pattern
    runs = []
    for pattern in LETTER_PATTERNS[rule]:
        ignoring_case = pattern.flags & re.IGNORECASE
        one = f"(?i:{pattern.pattern})" if ignoring_case else pattern.pattern
        uncaptured = one.replace("([A-E])", "[A-E]")
        runs.append(f"(?:(?:(?!{uncaptured})(?s:.))*{one})+")
    return r"\A(?:" + "|".join(runs) + ")"


def choice_regex(words: Sequence[str], rule: str) -> str:
    """A choice rule as one regular expression whose match ends with the first of the words."""
    either = "|".join(map(re.escape, words))
    return r"\A(?s:.*?)(" + (f"(?ai:{either})" if rule == "lower" else either) + ")"


def plain_number(answer: str) -> str:
    """A gold answer in the spelling that SPELLING produces: "1,008.50" becomes "1008.5"."""
    number = Decimal(answer.replace(",", "")).normalize()
    return format(number if number else abs(number), "f")


def _write(key: str, problems: Sequence[Problem], protocol: Protocol, folder: Path) -> str:
    import yaml

    tag = _name(f"hyplora_{protocol.name}")
    name = _name(f"{tag}_{key}")
    task = tasks.describe(key, problems[0].answer)
    answers = [p.answer for p in problems]
    comparison: dict[str, Any] = {}
    if task.answer == "number":
        answers, pattern = list(map(plain_number, answers)), NUMBER
        comparison = {"regexes_to_ignore": list(SPELLING)}
    elif task.answer == "letter":
        pattern = letter_regex(protocol.letter_rule)
    else:
        pattern = choice_regex(task.sought, protocol.choice_rule)
        comparison = {"ignore_case": True} if protocol.choice_rule == "lower" else {}
    data, lines = folder / f"{name}.jsonl", []
    for index, (problem, answer) in enumerate(zip(problems, answers, strict=True)):
        row = {"index": index, "prompt": evaluation_text(problem, protocol), "answer": answer}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(data, "".join(lines))
    filters = [
        {"function": "regex", "regex_pattern": pattern, "group_select": -1},
        {"function": "take_first"},
    ]
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
        "generation_kwargs": {
            # lm-eval always stops at the end-of-sequence token.
            "until": [protocol.answer_end] if protocol.answer_end else [],
            "do_sample": False,
            "max_gen_toks": max(new_tokens(problem, protocol) for problem in problems),
        },
        "filter_list": [{"name": "answer", "filter": filters}],
        "metric_list": [
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True} | comparison
        ],
        "metadata": {"version": 1.0},
    }
    facts = {"rows": len(answers), "fractions": sum("." in answer for answer in answers)}
    exactness = EXACTNESS[task.answer].format(**vars(protocol), **facts)
    chat = " --apply_chat_template" if protocol.template == CHAT else ""
    names = {"key": key, "protocol": protocol.name, "name": name, "tag": tag, "chat": chat}
    header = HEADER.format(**names, **facts, exactness=exactness)
    body = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=1000)
    write_text(folder / f"{name}.yaml", header + body)
    return name


def _name(text: str) -> str:
    return re.sub(r"[^\w.-]", "_", text)
