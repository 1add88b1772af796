"""The report of an embedding study: its tables beside the paper's, and what they show in words."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.report.embeddings.delta import hidden_sections, prompts_section, spaces_section
from bench.report.embeddings.findings import findings
from bench.report.embeddings.layers import layer_sections
from bench.report.embeddings.tokens import (
    correlations_section,
    frequency_section,
    groups_section,
    state_groups_section,
)
from bench.report.embeddings_figures import draw_embeddings
from bench.report.layout import Document, Section
from bench.report.published import FOLDER
from bench.report.render import write_document

NAME = "embeddings"
TITLE = "Embeddings: frequencies, norms, and how tree-like the spaces are"
Report = Mapping[str, Any]


def embeddings_document(report: Report) -> Document:
    """The study of `bench.embeddings.study.study` as a document."""
    published = yaml.safe_load((FOLDER / f"{NAME}.yaml").read_text(encoding="utf-8"))
    sections = [
        Section("What it shows, and what not", notes=tuple(findings(report, published))),
        frequency_section(report, published["gamma"]),
        groups_section(report, published["groups"]),
        state_groups_section(report),
        correlations_section(report),
        spaces_section(report, published["spaces"]),
        prompts_section(report, published["prompts"]),
        *hidden_sections(report, published["hidden"]),
        *layer_sections(report),
    ]
    return Document(TITLE, _facts(report), tuple(part for part in sections if part))


def write_embeddings(report: Report, folder: Path) -> list[Path]:
    """Write tables/embeddings.{md,csv,json,tex} and the figures; return the paths."""
    paths = write_document(embeddings_document(report), NAME, folder / "tables", _json(report))
    return [*paths, *draw_embeddings(report, folder / "figures")]


def _json(report: Report) -> str:
    """The study, a line for each row of a table: indented, each value would have one."""
    parts = []
    for key, value in report.items():
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if isinstance(value, list) and value:
            rows = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in value)
            text = "[\n" + ",\n".join(rows) + "\n]"
        parts.append(f"{json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _facts(report: Report) -> dict[str, str]:
    model, data, settings = report["model"], report["data"], report["settings"]
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
    rows = {"tests": "test rows", "train": "training rows"}[data["rows"]]
    facts = {
        "Base": base,
        "Output": "reads with the input's embedding (tied)"
        if model["tied"]
        else "has an embedding of its own",
        "Data": f"{data['source']}; texts counted are of {rows}: {sets}",
        "Prompts": f"{prompts}, each the problem's text alone, in front of it "
        + (f"the tokenizer's {model['front']}" if model["front"] else "nothing"),
        "Device": report["device"],
        "Seed": str(settings["seed"]),
    }
    scale = model["input_scale"]
    if scale is None:
        facts["Input"] = "the model adds to its embedding, or turns it; the matrix is measured"
    elif not math.isclose(scale, 1.0, rel_tol=0.01):
        facts["Input"] = (
            f"the model multiplies its embedding by {scale:.4g}; the matrix itself is measured, as "
            "the paper does, and relative deltas are the same for both"
        )
    return facts
