"""The description of a run in MLflow's interface, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import printable

_MARKUP = re.compile(r"[\\`*_|\[\]]")


def run_note(record: Mapping[str, Any], folder: Path) -> str:
    """What a run is, what it scored, where its files are and how to export its adapter.

    Args:
        record: of a finished fine-tuning run.
        folder: holds the run's files.
    """
    trained, K = record["rows"]["train"], record["curvature"]
    facts = (
        record["method"],
        K is not None and f"K = {K if isinstance(K, str) else f'{K:g}'}",
        f"on {record['model']}",
        trained and f"trained on {trained:,} rows",
        f"{record['data']} data",
        f"protocol {record['protocol']}",
        record["seed"] is not None and f"seed {record['seed']}",
    )
    lines = [
        _escaped(", ".join(fact for fact in facts if fact)) + ".",
        "",
        "| Set | Accuracy (%) | Correct | Items | Valid format (%) |",
        "| --- | --: | --: | --: | --: |",
        *(
            f"| {_escaped(score['label'])} | {score['accuracy']:.1f} | {score['correct']} "
            f"| {score['n']} | {score['format_rate']:.1f} |"
            for score in record["scores"].values()
        ),
        *(f"| {name} | {value:.1f} | | | |" for name, value in record["averages"].items()),
        "",
        f"Files: {_escaped(str(folder))}; also under Artifacts.",
    ]
    if trained:
        export = f"python bench/run.py action=export action.run={_escaped(folder.name)}"
        lines += ["", f"To share it: {export}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text that someone else chose, without effect as Markdown or HTML."""
    text = _MARKUP.sub(r"\\\g<0>", printable(text.replace("\n", " ")))
    return text.replace("&", "&amp;").replace("<", "&lt;")
