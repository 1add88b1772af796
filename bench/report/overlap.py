"""What training and test rows share, as the line under a table and the mark at its columns."""

from collections.abc import Iterable, Sequence
from typing import Any

from bench.report.names import key_of
from bench.report.records import Record

MARK = "†"


def overlap_notes(records: Sequence[Record], labels: dict[str, str]) -> list[str]:
    """A line for each way in which the runs' training rows met their test rows.

    Args:
        records: Runs of one table.
        labels: Column labels by benchmark key.

    Returns:
        Lines; none where nothing was trained, or the records do not say.
    """
    notes = []
    for overlap in _distinct(records):
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
    return notes


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
    found = [record["overlap"] for record in records if record.get("overlap")]
    return [overlap for i, overlap in enumerate(found) if overlap not in found[:i]]
