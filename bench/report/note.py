"""What the dashboard says of a run."""

from __future__ import annotations

from pathlib import Path

from bench.report.formats.escape import in_markdown
from bench.report.names import plain_curvature
from bench.report.records import Record


def run_note(record: Record, folder: Path) -> str:
    """A run in Markdown: what it is, what it scored, where its files are, what to do with them.

    Args:
        record: of the finished run.
        folder: that its files are in.
    """
    trained = f"trained on {record['rows']['train']:,} rows" if record["rows"]["train"] else ""
    seed = None if record["seed"] is None else f"seed {record['seed']}"
    K = record["curvature"]
    curvature = None if K is None else f"K = {plain_curvature(K)}"
    facts = (
        record["method"], curvature, f"on {record['model']}", trained, f"{record['data']} data",
        f"protocol {record['protocol']}", seed,
    )  # fmt: skip
    lines = [
        in_markdown(", ".join(filter(None, facts))) + ".",
        "",
        "| Set | Accuracy, % | Correct | Items | In form, % |",
        "| --- | --: | --: | --: | --: |",
    ]
    for score in record["scores"].values():
        cells = (
            in_markdown(score["label"]),
            f"{score['accuracy']:.1f}",
            str(score["correct"]),
            str(score["n"]),
            f"{score['format_rate']:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| {name} | {value:.1f} | | | |" for name, value in record["averages"].items()]
    lines += ["", f"Files: {in_markdown(str(folder))}; under Artifacts, too."]
    if record["rows"]["train"]:
        lines += [
            "",
            f"To share it: python bench/run.py action=export action.run={in_markdown(folder.name)}",
        ]
    return "\n".join(lines) + "\n"
