"""The part of an efficiency report that sets our evaluation beside the published loop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench.report.layout import Section

PUBLISHED = "published loop"
LISTED = 20  # predictions that differ; there should be none


def evaluation_sections(found: Mapping[str, Any]) -> list[Section]:
    """The speeds, and where predictions differ a list of them.

    Args:
        found: as `bench.efficiency.evaluation.measure_evaluation` gives it, with `model` and, where
            an adapter was trained before, `taught`.
    """
    rows = [
        (
            name if name == PUBLISHED else f"ours, protocol={name}",
            f"{loop['problems_per_second']:.3g}",
            f"{loop['ratio']:.1f} [{loop['ratio_low']:.1f}, {loop['ratio_high']:.1f}]",
            f"{loop['tokens']:.0f}",
            str(loop["at_limit"]),
            f"{loop['accuracy']:.1f}",
        )
        for name, loop in found["loops"].items()
    ]
    header = ("Evaluation", "Problems a second", "Ratio", "Tokens", "Cut off", "Accuracy")
    sections = [
        Section("The evaluation beside the published loop", header, tuple(rows), _notes(found))
    ]
    if found["differing"]:
        listed = [
            (one["task"], one["instruction"], json.dumps(one["published"]), json.dumps(one["ours"]))
            for one in found["differing"][:LISTED]
        ]
        left = len(found["differing"]) - len(listed)
        notes = (f"{left} more are in the JSON file beside this table.",) if left else ()
        columns = ("Set", "Problem", "Published loop", "Ours, protocol=llm_adapters")
        sections.append(
            Section("Predictions that differ", columns, tuple(listed), notes, names=len(columns))
        )
    return sections


def _notes(found: Mapping[str, Any]) -> tuple[str, ...]:
    taught, total = found["taught"], found["problems"]
    model = f"{found['model']} as it is"
    if taught:
        model = (
            f"LoRA on {found['model']}, trained on {taught['rows']} rows of "
            f"{', '.join(taught['data'])} under each of the two prompts (epochs: "
            f"{taught['epochs']:g})"
        )
    sets = ", ".join(f"{key} {count}" for key, count in found["sets"].items())
    return (
        f"{model}: {total} of {found['asked']} problems ({sets}), those whose prompt leaves room "
        f"for {found['max_new_tokens']} new tokens.",
        "The published loop asks one problem at a time and searches with four beams that keep no "
        "cache. protocol=llm_adapters is the same prompt, search and reading; protocol=fast has a "
        "short prompt and decodes greedily.",
        f"All ask up to {found['chunk']} problems of a set in turn, in a random order; ours in "
        f"batches of up to {found['batch_size']}. Ratio: median over these turns, quartiles in "
        "brackets.",
        "Tokens: generated for a problem, on average. Cut off: problems whose answer reached the "
        "limit.",
        f"protocol=llm_adapters reads what the published loop reads in {found['same_predictions']} "
        f"of {total} problems, and its text is the same in {found['same_texts']}.",
    )
