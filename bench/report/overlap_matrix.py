"""What each training set shares with each test set, as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.layout import Document, Section
from bench.report.overlap import NEAR

FORMS = {"exact": "to the letter", "masked": "masked", "near": "near"}
ALL = "all together"


def overlap_document(
    by_set: Mapping[str, Mapping[str, Any]], together: Mapping[str, Any], kept: bool
) -> Document:
    """A table with a line for each training set and way of standing in it.

    Args:
        by_set: for each training set its `rows`, and `tests` and `train` as a record's overlap has
            them.
        together: the same of all training sets as one.
        kept: whether training rows that stand in a test set are trained on.
    """
    shown = dict(by_set) | ({ALL: together} if len(by_set) > 1 else {})
    heads = [f"{key} ({counts['rows']})" for key, counts in together["tests"].items()]
    return Document(
        title="Training and test rows that are the same problem",
        facts={
            "Training rows": ", ".join(f"{name} {each['rows']}" for name, each in shown.items()),
        },
        sections=(
            Section(
                heading="",
                header=("Training set", "Standing there", *heads, "Training rows"),
                rows=tuple(line for name, each in shown.items() for line in _lines(name, each)),
                notes=(
                    "Figures are test rows that stand in the training set; in the last column, its "
                    "own rows that stand in any of these test sets.",
                    "To the letter: the same but for white space. Masked: the same but for case, "
                    f"punctuation and numbers. Near: {NEAR}. Each counts those before it too.",
                    _done(kept),
                ),
                names=2,
            ),
        ),
    )


def _lines(name: str, each: Mapping[str, Any]) -> Sequence[tuple[str, ...]]:
    return [
        (
            name if number == 0 else "",
            label,
            *(str(counts[form]) for counts in each["tests"].values()),
            str(each["train"][form]),
        )
        for number, (form, label) in enumerate(FORMS.items())
    ]


def _done(kept: bool) -> str:
    if kept:
        return "All of them are trained on; data.keep_overlap=false leaves the masked ones out."
    return (
        "Training rows that stand in a test set to the letter or masked are left out of training "
        "(data.keep_overlap=true keeps them); near-duplicates are counted and stay."
    )
