"""The figures of the embedding study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.files import write_text
from bench.report.embeddings_figures.delta import delta, hidden
from bench.report.embeddings_figures.disk import disk, disk_page
from bench.report.embeddings_figures.frequency import frequency
from bench.report.embeddings_figures.layers import layers
from bench.report.embeddings_figures.norms import correlations, norms
from bench.report.figure import Figure, save


def embeddings_figures(report: Mapping[str, Any]) -> list[Figure]:
    """All figures of the study, less those without data.

    Args:
        report: the plain data of bench.embeddings.study, or the content of its JSON file.
    """
    drawn = (
        frequency(report["frequency"]),
        norms(report),
        correlations(report["norms"]["correlations"]),
        delta(report["prompts"], report["spaces"]),
        hidden(report["hidden"]),
        layers(report["layers"]),
        disk(report),
    )
    return [figure for figure in drawn if figure is not None]


def draw_embeddings(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write all figures as embeddings_<figure>.svg and .png, and the disk as embeddings_disk.html.

    Args:
        report: as for `embeddings_figures`.
        folder: created if necessary.

    Returns:
        The paths.
    """
    paths = [
        path
        for figure in embeddings_figures(report)
        for path in save(figure, folder, f"embeddings_{figure.name}")
    ]
    page = disk_page(report)
    if page is not None:
        path = folder / "embeddings_disk.html"
        write_text(path, page)
        paths.append(path)
    return paths
