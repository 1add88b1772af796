"""What training and test rows share, as the line under a table and the mark at its columns."""

from collections.abc import Iterable, Sequence
from typing import Any

from bench.names import key_of
from bench.report.records import Record

MARK = "†"
NEAR = (
    "at least half of a test row's runs of 13 words, so masked, stand in one training row (a text "
    "that is shorter is one run)"
)


def overlap_notes(records: Sequence[Record], labels: dict[str, str]) -> list[str]:
    """A line for each way in which the runs' training rows met their test rows.

    Args:
        records: Runs of one table.
        labels: Column labels by benchmark key.

    Returns:
        Lines; none where nothing was trained, or the records do not say. Records from before
        near-duplicates were counted say nothing of those.
    """
    notes = []
    for overlap in _distinct(records):
        near = [
            f"{labels.get(key, key)} {counts['near']} of {counts['rows']}"
            for key, counts in overlap["tests"].items()
            if counts.get("near", 0) > counts["masked"]
        ]
        shares = [
            f"{labels.get(key, key)} {counts['masked']} of {counts['rows']} "
            f"({counts['exact']} to the letter)"
            for key, counts in overlap["tests"].items()
            if counts["masked"]
        ]
        if not shares:
            notes.append(
                "Overlap: no test row stands in the training rows, also with case, punctuation and "
                "numbers masked."
            )
            notes += _near_note(near)
            continue
        rows = overlap["train"]["masked"]
        done = (
            f"The {rows} training rows that make it were kept: columns marked {MARK} measure "
            "memory too."
            if overlap["kept"]
            else f"The {rows} training rows that make it were left out."
        )
        notes.append(
            "Overlap: test rows that stand in the training rows, with case, punctuation and "
            f"numbers masked: {', '.join(shares)}. {done}"
        )
        notes += _near_note(near)
    return notes


def _near_note(near: Sequence[str]) -> list[str]:
    if not near:
        return []
    return [
        f"Near-duplicates, those above among them: {', '.join(near)}. There {NEAR}. Such training "
        "rows stay."
    ]


def marked_columns(records: Sequence[Record]) -> frozenset[str]:
    """Keys (folded) of the benchmarks whose rows some run was trained on."""
    return frozenset(
        key_of(key)
        for overlap in _distinct(records)
        if overlap["kept"]
        for key, counts in overlap["tests"].items()
        if counts["masked"]
    )


def _distinct(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The overlaps that differ; of two that differ in what was counted, the one that says more."""
    found = [record["overlap"] for record in records if record.get("overlap")]
    found.sort(key=lambda overlap: "near" not in overlap["train"])
    bare = list(map(_without_near, found))
    return [overlap for i, overlap in enumerate(found) if bare[i] not in bare[:i]]


def _without_near(overlap: dict[str, Any]) -> dict[str, Any]:
    def without(counts: dict[str, int]) -> dict[str, int]:
        return {form: count for form, count in counts.items() if form != "near"}

    tests = {key: without(counts) for key, counts in overlap["tests"].items()}
    return overlap | {"tests": tests, "train": without(overlap["train"])}
