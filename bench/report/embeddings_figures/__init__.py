"""The pictures of the embedding study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report.embeddings_figures import delta, frequency, norms
from bench.report.style import save


def draw_embeddings(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw every picture of the study, as SVG and PNG.

    Args:
        report: the plain data of bench.embeddings.study, or what a file of it holds.
        folder: where they are written, as embeddings_<picture>.svg and .png.

    Returns:
        The paths; none for a picture that the study has no part for.
    """
    pictures = {
        "frequency": frequency.frequency(report["frequency"]),
        "norms": norms.norms(report),
        "correlations": norms.correlations(report["norms"]["correlations"]),
        "delta": delta.prompts(report["prompts"], report["spaces"]),
        "hidden": delta.hidden(report["hidden"]),
    }
    return [
        path
        for name, figure in pictures.items()
        if figure is not None
        for path in save(figure, folder, f"embeddings_{name}")
    ]
