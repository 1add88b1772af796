"""The description of a run in MLflow's interface, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import printable
from bench.names import plain_curvature

_MARKUP = re.compile(r"[\\`*_|\[\]]")


def run_note(record: Mapping[str, Any], folder: Path) -> str:
    """Settings, scores, files and export command of a finished fine-tuning run."""
    trained, curvature = record["rows"]["train"], record["curvature"]
    facts = (
        record["method"],
        curvature is not None and f"K = {plain_curvature(curvature)}",
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
    ]
    for score in record["scores"].values():
        figures = f"{score['correct']} | {score['n']} | {score['format_rate']:.1f}"
        lines.append(f"| {_escaped(score['label'])} | {score['accuracy']:.1f} | {figures} |")
    lines += [f"| {name} | {value:.1f} | | | |" for name, value in record["averages"].items()]
    lines += ["", f"Files: {_escaped(str(folder))}; also under Artifacts."]
    if trained:
        command = f"python bench/run.py action=export action.run={_escaped(folder.name)}"
        lines += ["", f"Export the adapter: {command}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """User-defined text, without effect as Markdown or HTML."""
    text = _MARKUP.sub(r"\\\g<0>", printable(text.replace("\n", " ")))
    return text.replace("&", "&amp;").replace("<", "&lt;")
