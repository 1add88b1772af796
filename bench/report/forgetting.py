"""What fine-tuning cost on general text, as the line under a table."""

from collections.abc import Sequence
from statistics import mean

from bench.report.records import Record


def forgetting_notes(groups: Sequence[Sequence[Record]], labels: Sequence[str]) -> list[str]:
    """A line for each general text that the loss was taken on.

    Args:
        groups: The runs of each row.
        labels: What each row is called.

    Returns:
        Lines; none where it was not measured.
    """
    told: dict[str, list[str]] = {}
    for runs, label in zip(groups, labels, strict=True):
        found = [run["forgetting"] for run in runs if run.get("forgetting")]
        for text in dict.fromkeys(one["sha256"] for one in found):
            before, after = (
                mean(one[when]["nats_per_token"] for one in found if one["sha256"] == text)
                for when in ("before", "after")
            )
            told.setdefault(text, []).append(f"{label} {before:.3f} → {after:.3f}")
    return [
        "Cross-entropy of general text (nats a token, mean over seeds), before → after: "
        f"{'; '.join(rows)}."
        for rows in told.values()
    ]
