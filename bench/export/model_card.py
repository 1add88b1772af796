"""The model card of an adapter: README.md with the front matter of the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.errors import printable
from bench.names import method_label
from bench.report.formats.escape import in_markdown
from bench.report.records import Record, training_settings
from bench.report.shared_record import Base, base_of
from bench.report.statistics.bootstrap import intervals

NAME = "hyplora-bench"
TEMPLATE = "model_card.md.jinja"


def model_card(record: Record, ours: bool, created_at: str | None) -> str:
    """The card of the adapter that a run trained.

    Args:
        record: of the run.
        ours: whether peft needs `bench.methods` to load the adapter.
        created_at: when the run began, in ISO 8601; None if unknown.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("bench", "export"),
        undefined=StrictUndefined,
        # Names come from users; only Markup is inserted as it is.
        finalize=lambda value: value if isinstance(value, Markup) else in_markdown(str(value)),
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "settings": _settings,
        "thousands": "{:,}".format,
        "decimal": lambda value: "-" if value is None else f"{value:.1f}",
    }
    base, config, scores = base_of(record), record["config"], record["scores"]
    title = f"{method_label(record['method'], record['curvature'])} on {record['model']}"
    overlap, files = record.get("overlap"), record.get("data_files") or {}
    return environment.get_template(TEMPLATE).render(
        **{key: record[key] for key in ("rows", "seconds")},
        **{key: record["parameters"][key] for key in ("trainable", "total")},
        **{key: config[key] for key in ("data", "protocol")},
        record={"overlap": None, "forgetting": None, **record},
        project=NAME,
        base=base,
        ours=ours,
        created_at=created_at,
        title=title,
        front_matter=Markup(_front_matter(record, base, title)),
        synthetic=config["data"]["source"] == "synthetic",
        training=training_settings(record),
        other_files=[name for name, mark in files.items() if "another" in mark],
        overlapping=sum(n["masked"] for n in overlap["tests"].values()) if overlap else 0,
        prompt=Markup(_fenced(config["protocol"]["evaluation_prompt"])),
        intervals=_intervals(scores),
        items=sum(score["n"] for score in scores.values()),
        rules=dict.fromkeys(f"{score['label']} {score['rule']}" for score in scores.values()),
        too_long=sum(score["too_long"] for score in scores.values()),
    )


def _intervals(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """95% intervals in percent by set and average, over the items: those of a table of one run."""
    outcomes = {
        key: np.array([[float(outcome) for outcome in score["outcomes"]]])
        for key, score in scores.items()
    }
    sizes = {key: score["n"] for key, score in scores.items()}
    items = sum(sizes.values())
    cells = {key: {key: 1.0} for key in scores} | {
        "micro": {key: size / items for key, size in sizes.items()},
        "macro": dict.fromkeys(sizes, 1 / len(sizes)),
    }
    (ends,) = intervals([outcomes], cells)
    return {cell: (100 * low, 100 * high) for cell, (low, high) in ends.items()}


def _front_matter(record: Record, base: Base, title: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    data = record["config"]["data"]
    synthetic = data["source"] == "synthetic"
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=f"synthetic-{key}" if synthetic else key,
            dataset_name=("synthetic problems modelled on " if synthetic else "") + score["label"],
            metric_type="accuracy",
            metric_value=round(score["accuracy"], 2),
            metric_name=f"accuracy, protocol {record['protocol']}, {score['n']} items",
        )
        for key, score in record["scores"].items()
    ]
    card = ModelCardData(
        base_model=base.name,
        library_name="peft",
        pipeline_tag="text-generation",
        license="unknown",
        tags=["peft", record["method"], NAME, f"base_model:adapter:{base.name}"],
        datasets=[data["hub"]] if data["hub"] else None,
        model_name=title,
        eval_results=results,
    )
    return str(card.to_yaml())


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {' '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for name, value in values.items()
    )


def _fenced(text: str) -> str:
    """A code block with a fence longer than any in the text."""
    shown = "\n".join(map(printable, text.split("\n")))
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"
