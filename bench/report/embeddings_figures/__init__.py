"""The pictures of the embedding study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.files import write_text
from bench.report.embeddings_figures.delta import hidden, prompts
from bench.report.embeddings_figures.disk import disk
from bench.report.embeddings_figures.disk_page import disk_page
from bench.report.embeddings_figures.frequency import frequency
from bench.report.embeddings_figures.layers import layers
from bench.report.embeddings_figures.norms import correlations, norms
from bench.report.style import save


def draw_embeddings(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw every picture of the study, as SVG and PNG, and the disk as a page, too.

    Args:
        report: the plain data of bench.embeddings.study, or what a file of it holds.
        folder: where they are written, as embeddings_<picture>.svg and .png, and
            embeddings_disk.html.

    Returns:
        The paths; none for a picture that the study has no part for.
    """
    pictures = {
        "frequency": frequency(report["frequency"]),
        "norms": norms(report),
        "correlations": correlations(report["norms"]["correlations"]),
        "delta": prompts(report["prompts"], report["spaces"]),
        "hidden": hidden(report["hidden"]),
        "layers": layers(report["layers"]),
        "disk": disk(report),
    }
    paths = [
        path
        for name, figure in pictures.items()
        if figure is not None
        for path in save(figure, folder, f"embeddings_{name}")
    ]
    page = disk_page(report)
    if page is not None:
        path = folder / "embeddings_disk.html"
        write_text(path, page)
        paths.append(path)
    return paths
