"""A report in each output format: one function over its tables per format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.files import write_text
from bench.report.formats.latex import to_latex
from bench.report.formats.markdown import to_markdown
from bench.report.formats.terminal import show
from bench.report.formats.tidy import frame, to_csv, to_json
from bench.report.tables import Report

__all__ = ["frame", "show", "to_csv", "to_json", "to_latex", "to_markdown", "write"]


def write(report: Report, folder: Path, data: dict[str, Any] | None = None) -> list[Path]:
    """Write <name>.md, <name>.csv, <name>.json (with further `data`) and <name>.tex.

    Each file is replaced as a whole. Returns the paths, in that order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "md": to_markdown(report),
        "csv": to_csv(report),
        "json": to_json(report, data),
        "tex": to_latex(report),
    }
    paths = {folder / f"{report.name}.{end}": text for end, text in texts.items()}
    for path, text in paths.items():
        write_text(path, text)
    return list(paths)
