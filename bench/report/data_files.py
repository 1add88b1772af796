"""Which data files a table rests on, as lines under it."""

from collections.abc import Iterable, Sequence

from bench.report.records import Record

# Files of the published tables whose contents are not at hand, so that they can't be compared.
PUBLISHED = (
    "ft-training_set/math_10k.json",
    "ft-training_set/commonsense_170k.json",
    "dataset/hellaswag/test.json",
)


def data_file_notes(records: Sequence[Record]) -> list[str]:
    """A line for files that are not the paper's, and one for those that may or may not be.

    Args:
        records: Runs of one table.
    """
    others = _named(records, "another file")
    open_ones = [n for n in _named(records, "not known") if n.casefold() in PUBLISHED]
    notes = []
    if others:
        notes.append(
            f"Data: not the paper's file, by its hash: {', '.join(others)}. The figures of such a "
            "set are no counterparts of the published ones."
        )
    if open_ones:
        notes.append(
            f"Data: whether these are the paper's files is not known: {', '.join(open_ones)}."
        )
    return notes


def _named(records: Iterable[Record], mark: str) -> list[str]:
    found = [
        name for run in records for name, m in (run.get("data_files") or {}).items() if m == mark
    ]
    return list(dict.fromkeys(found))
