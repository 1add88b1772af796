"""The report on pretraining runs: bits per byte, each model beside its twin, and why."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.report.comparison import (
    BETTER,
    FEW_SEEDS,
    NOT_COMPARED,
    NOT_SIGNIFICANT,
    WORSE,
    Comparison,
)
from bench.report.figure import Figure, save
from bench.report.formats.escape import CsvWriter
from bench.report.layout import Document, Section
from bench.report.pretraining.beside import TwinDifference, beside_twins
from bench.report.pretraining.figures import bits_figure, layers_figure
from bench.report.pretraining.rows import PretrainedRow, Record, rows_of
from bench.report.pretraining.sections import (
    curvature_section,
    findings,
    initialisation_section,
    main_section,
    published_section,
    routing_section,
    twin_section,
)
from bench.report.pretraining.spec import PretrainingSpec
from bench.report.pretraining.tasks import tasks_section
from bench.report.published import FOLDER
from bench.report.render import write_document
from bench.report.selection import Group
from bench.report.statistics.differences import VERDICTS

__all__ = [
    "PretrainingSpec",
    "pretraining_document",
    "pretraining_figures",
    "twin_differences",
    "write_pretraining",
]

CSV_HEADER = (
    "row", "model", "seed", "bits_per_byte", "parameters", "without_vocabulary", "tokens",
    "tokens_per_second", "utilisation", "identity",
)  # fmt: skip


def pretraining_document(records: Sequence[Record], spec: PretrainingSpec) -> Document:
    """Runs of `bench.pretraining.run` as a document.

    Args:
        records: of finished runs.
        spec: of the report.

    Raises:
        ValueError: there is no run, or no such file of published figures.
    """
    rows = rows_of(records, spec.twins)
    differences = beside_twins(rows, spec.twins)
    published = _published(spec.published) if spec.published else {}
    parts = [
        Section("What it shows", notes=tuple(findings(rows, differences))),
        main_section(rows),
        twin_section(differences) if differences else None,
        routing_section(rows),
        curvature_section(rows),
        initialisation_section(rows),
        tasks_section(rows, _chance(published)),
        published_section(published) if published else None,
    ]
    return Document(spec.title, _facts(rows), tuple(part for part in parts if part))


def twin_differences(
    records: Sequence[Record], spec: PretrainingSpec
) -> tuple[TwinDifference, ...]:
    """Each model beside its twin; arguments and errors as of `pretraining_document`."""
    return beside_twins(rows_of(records, spec.twins), spec.twins)


def pretraining_figures(records: Sequence[Record], spec: PretrainingSpec) -> list[Figure]:
    """Its figures; arguments and errors as of `pretraining_document`."""
    rows = rows_of(records, spec.twins)
    return _figures(rows, beside_twins(rows, spec.twins))


def _figures(rows: Sequence[PretrainedRow], differences: Sequence[TwinDifference]) -> list[Figure]:
    groups = [Group(row.label, row.label, tuple(row.records.values())) for row in rows]
    verdicts = dict(
        zip(VERDICTS, (BETTER, WORSE, NOT_SIGNIFICANT, FEW_SEEDS, NOT_COMPARED), strict=True)
    )
    comparisons = [
        Comparison(
            "vs. the twin", f.row.label, f.twin.label, f.row.label, f.twin.label, "bits_per_byte",
            verdicts[f.verdict], f.difference, f.low, f.high, f.p, f.p_holm,
            by_seed=f.by_seed or {},
        )
        for f in differences
    ]  # fmt: skip
    return [bits_figure(groups, comparisons), layers_figure(groups)]


def write_pretraining(records: Sequence[Record], spec: PretrainingSpec, folder: Path) -> list[Path]:
    """Write tables/<name>.{md,csv,json,tex} and figures/<name>_{bits,layers}.{svg,png}.

    Args:
        records: of finished runs.
        spec: of the report.
        folder: of results.

    Returns:
        The paths.

    Raises:
        ValueError: as `pretraining_document`.
    """
    rows = rows_of(records, spec.twins)
    differences = beside_twins(rows, spec.twins)
    document, figures = pretraining_document(records, spec), folder / "figures"
    data = _json(rows, differences)
    paths = write_document(document, spec.name, folder / "tables", data, _csv(rows))
    for figure in _figures(rows, differences):
        paths += save(figure, figures, f"{spec.name}_{figure.name}")
    return paths


def _published(name: str) -> Mapping[str, Any]:
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"no published figures {name!r} in {FOLDER}")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _chance(published: Mapping[str, Any]) -> dict[str, float]:
    """What guessing gets, by the names that lm-eval has for the published tasks."""
    return {task: published["chance"][key] for task, key in published.get("tasks", {}).items()}


def _facts(rows: Sequence[PretrainedRow]) -> dict[str, str]:
    runs = [record for row in rows for record in row.records.values()]
    first = runs[0]
    train, training = first["train"], first["training"]
    seeds = sorted({seed for row in rows for seed in row.records})
    commits = _different(str(run["git"]["commit"])[:10] for run in runs)
    dirty = sum(bool(run["git"]["dirty"]) for run in runs)
    data = {"synthetic": "the embedded corpus", "text": "text of one's own"}[first["data"]]
    return {
        "Models": f"size {_different(run['size'] for run in runs)}, "
        f"tokenizer {_different(run['tokenizer'] for run in runs)} "
        f"({first['vocabulary']:,} entries)",
        "Data": f"{data}, sha256 {_different(run['hashes']['text'][:10] for run in runs)}; "
        f"{training['passes']:.2f} passes",
        "Training": f"{train['steps']:,} steps of {train['step_tokens']:,} tokens in packed rows "
        f"of {train['row_tokens']:,}, AdamW, {_rates(rows)}, {train['warmup']:.0%} "
        f"warm-up, cosine to {train['lr_floor']:.0%}, weight decay {train['weight_decay']:g} on "
        f"matrices, gradient clip {train['gradient_clip']:g}, {train['precision']}",
        "Seeds": ", ".join(map(str, seeds)),
        "Device": _different(run["device"] for run in runs),
        "Code": f"commit {commits}"
        + (f", {dirty} of {len(runs)} runs with uncommitted changes" if dirty else ""),
    }


def _rates(rows: Sequence[PretrainedRow]) -> str:
    """The learning rate, of each row where they differ."""
    rates = {row.label: f"{row.first['train']['lr']:g}" for row in rows}
    if len(set(rates.values())) == 1:
        return f"learning rate {next(iter(rates.values()))}"
    return "learning rate " + ", ".join(f"{rate} ({label})" for label, rate in rates.items())


def _different(values: Any) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _csv(rows: Sequence[PretrainedRow]) -> str:
    out = io.StringIO()
    writer = CsvWriter(out)
    writer.writerow(CSV_HEADER)
    for row in rows:
        for seed, record in row.records.items():
            training = record["training"]
            writer.writerow(
                (
                    *(row.label, row.model, seed, training["bits_per_byte"]),
                    *training["parameters"].values(),
                    *(training["tokens"], record["tokens_per_second"], record["utilisation"]),
                    record["identity"],
                )
            )
    return out.getvalue()


def _json(rows: Sequence[PretrainedRow], differences: Sequence[TwinDifference]) -> str:
    """The rows unrounded with all that was measured, less the parts of the held-out text."""
    found = {
        "rows": [
            {
                "label": row.label,
                "model": row.model,
                "bits_per_byte": row.mean,
                "interval": row.interval,
                "runs": [
                    {
                        "seed": seed,
                        **{k: record[k] for k in ("identity", "tokens_per_second", "utilisation")},
                        **{k: v for k, v in record["training"].items() if k != "blocks"},
                    }
                    for seed, record in row.records.items()
                ],
            }
            for row in rows
        ],
        "differences": [
            {
                "row": found.row.label,
                "twin": found.twin.label,
                **{
                    key: getattr(found, key)
                    for key in ("verdict", "difference", "low", "high", "p", "p_holm", "by_seed")
                },
                "speed": found.speed,
                "why": found.why,
            }
            for found in differences
        ],
    }
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
