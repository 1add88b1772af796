"""The report of an embedding study: its tables with the paper's, and its findings in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report import formats
from bench.report.embeddings import tokens
from bench.report.embeddings.delta import hidden_table, prompts_table, spaces_table
from bench.report.embeddings.findings import findings
from bench.report.embeddings.layers import layer_tables
from bench.report.embeddings_figures import draw_embeddings
from bench.report.measurements import measurement_name
from bench.report.published import read_published
from bench.report.tables import Report, Table

NAME = "embeddings"
TITLE = "Embeddings: frequencies, norms and hyperbolicity"
ROWS = {"tests": "test rows", "train": "training rows"}
Study = Mapping[str, Any]


def embeddings_report(study: Study) -> Report:
    """The study of `bench.embeddings.study.study` as tables."""
    published = read_published(NAME)
    tables = [
        Table("findings", "Findings", notes=tuple(findings(study, published))),
        tokens.frequency_table(study, published["gamma"]),
        tokens.groups_table(study, published["groups"]),
        tokens.state_groups_table(study),
        tokens.correlations_table(study),
        spaces_table(study, published["spaces"]),
        prompts_table(study, published["prompts"]),
        hidden_table(study, published["hidden"]),
        *layer_tables(study["layers"]),
    ]
    name = measurement_name(NAME, study)
    return Report(name, TITLE, _facts(study), tuple(table for table in tables if table))


def write_embeddings(study: Study, folder: Path) -> list[Path]:
    """Write tables/<name>.{md,csv,json,tex} and the figures; return the paths."""
    report = embeddings_report(study)
    paths = formats.write(report, folder / "tables")
    return [*paths, *draw_embeddings(study, folder / "figures", report.name)]


def _facts(study: Study) -> dict[str, str]:
    model, data, scale = study["model"], study["data"], study["model"]["input_scale"]
    base = (
        f"{model['name']}, {model['vocabulary']:,} token types in {model['dimension']:,} dimensions"
    )
    if model["published"]:
        base += f" ({model['published']} in the paper)"
    sets = ", ".join(f"{each['label']} {each['rows']}" for each in data["sets"].values())
    prompts = ", ".join(
        f"{each['label']} {each['prompts']}"
        + (f" ({each['too_long']} left out as too long)" if each["too_long"] else "")
        for each in data["prompts"].values()
    )
    front = f"after the tokenizer's {model['front']}" if model["front"] else "without a prefix"
    facts = {
        "Base": base,
        "Output": "tied to the input embedding" if model["tied"] else "has its own embedding",
        "Data": f"{data['source']}; counted: {ROWS[data['rows']]} of {sets}",
        "Prompts": f"{prompts}; the problem's text only, {front}",
        "Device": study["device"],
        "Seed": str(study["settings"]["seed"]),
    }
    if scale is None:
        facts["Input"] = "the model adds to or rotates its embedding; the matrix is measured"
    elif not math.isclose(scale, 1.0, rel_tol=0.01):
        facts["Input"] = (
            f"the model multiplies its embedding by {scale:.4g}; the matrix is measured, as in the "
            "paper (relative deltas are the same)"
        )
    return facts
