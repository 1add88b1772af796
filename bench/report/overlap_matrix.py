"""What each training set shares with each test set, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report.notes import NEAR
from bench.report.tables import Cell, Column, Report, Row, Table

FORMS = {"exact": "verbatim", "masked": "masked", "near": "near"}
ALL = "all together"


def overlap_report(
    by_set: Mapping[str, Mapping[str, Any]], together: Mapping[str, Any], kept: bool
) -> Report:
    """A row for each training set and kind of match.

    Args:
        by_set: for each training set its `rows`, and `tests` and `train` as in a record's overlap.
        together: the same for all training sets as one.
        kept: whether training rows that are in a test set are trained on.
    """
    shown = dict(by_set) | ({ALL: together} if len(by_set) > 1 else {})
    columns = [
        Column(key, f"{key} ({counts['rows']})", "d") for key, counts in together["tests"].items()
    ]
    rows = [
        Row(
            (name, label),
            {key: Cell(counts[form]) for key, counts in each["tests"].items()}
            | {"train": Cell(each["train"][form])},
        )
        for name, each in shown.items()
        for form, label in FORMS.items()
    ]
    table = Table(
        key="overlap",
        columns=(*columns, Column("train", "Training rows", "d")),
        rows=tuple(rows),
        names=("Training set", "Match"),
        notes=(
            "Number of test rows that are also in the training set; in the last column, number of "
            "training rows that are in any of these test sets.",
            "Verbatim: equal but for white space. Masked: equal but for case, punctuation and "
            f"numbers. Near: {NEAR}. Each count includes those before it.",
            "All of them are trained on; data.keep_overlap=false leaves the masked ones out."
            if kept
            else "Training rows with a verbatim or masked match are left out of training "
            "(data.keep_overlap=true keeps them); near-duplicates are counted and kept.",
        ),
        grouped=True,
    )
    counts = ", ".join(f"{name} {each['rows']}" for name, each in shown.items())
    title = "Problems that are in training and test sets"
    return Report("overlap", title, {"Training rows": counts}, (table,))
