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


def embeddings_figures(study: Mapping[str, Any]) -> list[Figure]:
    """All figures of the plain data of bench.embeddings.study, except those without data."""
    drawn = (
        frequency(study["frequency"]),
        norms(study),
        correlations(study["norms"]["correlations"]),
        delta(study["prompts"], study["spaces"]),
        hidden(study["hidden"]),
        layers(study["layers"]),
        disk(study),
    )
    return [figure for figure in drawn if figure is not None]


def draw_embeddings(study: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
    """Write all figures as <name>_<figure>.svg and .png, and the disk as <name>_disk.html."""
    drawn = embeddings_figures(study)
    paths = [path for each in drawn for path in save(each, folder, f"{name}_{each.name}")]
    if page := disk_page(study):
        paths.append(folder / f"{name}_disk.html")
        write_text(paths[-1], page)
    return paths
