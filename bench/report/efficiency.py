"""The report of an efficiency measurement: ratios to LoRA, beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.files import as_json
from bench.report.evaluation_loop import evaluation_sections
from bench.report.figure import save
from bench.report.figures.efficiency import REFERENCE, case_title
from bench.report.figures.efficiency import figure as efficiency_figure
from bench.report.helm_speed import helm_section
from bench.report.hyperbolicity_speed import hyperbolicity_section
from bench.report.layout import EMPTY, Document, Section
from bench.report.names import method_label
from bench.report.published import FOLDER
from bench.report.render import write_document

NAME = "efficiency"
TITLE = "Cost beside LoRA"
Report = Mapping[str, Any]


def efficiency_document(report: Report) -> Document:
    """The report of `bench.efficiency.measure.measure` as a document."""
    settings, versions = report["settings"], report["versions"]
    facts = {
        "Device": f"{report['device']}, {report['threads']} threads",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Figures": f"{settings['rounds']} a piece of work, in a new random order every round",
    }
    sections = [_section(case) for case in report["cases"]]
    if report.get("throughput"):
        sections.append(_throughput(report["throughput"]))
    if report.get("evaluation"):
        sections += evaluation_sections(report["evaluation"])
    if report.get("hyperbolicity"):
        sections.append(hyperbolicity_section(report["hyperbolicity"]))
    if report.get("helm"):
        sections.append(helm_section(report["helm"]))
    return Document(TITLE, facts, (*sections, _published()))


def write_efficiency(report: Report, folder: Path) -> list[Path]:
    """Write tables/efficiency.{md,csv,json,tex} and figures/efficiency.{svg,png}; return the paths.

    There is no figure where no case was measured.
    """
    data = as_json(dict(report))
    paths = write_document(efficiency_document(report), NAME, folder / "tables", data)
    figures = folder / "figures"
    figure = efficiency_figure(report)
    return [*paths, *(save(figure, figures, NAME) if figure else ())]


def _section(case: Mapping[str, Any]) -> Section:
    works = case["works"]
    memory = any(t["peak_bytes"] for t in works[next(iter(works))].values())
    rows = []
    for method in case["parameters"]:
        cells = [_ratio(works[work].get(method)) for work in works]
        if memory:
            peaks = [times[method]["peak_bytes"] for times in works.values() if method in times]
            cells.append(f"{max(peaks) / 2**30:.2f}")
        rows.append((method_label(method), *cells, f"{case['parameters'][method]:,}"))
    heads = [f"{work} (LoRA {_time(works[work][REFERENCE]['median'])})" for work in works]
    notes = [
        "Time as a multiple of LoRA's: median over rounds, quartiles in brackets.",
        "LoRA again: LoRA beside itself, so what it differs from 1 by is noise.",
    ]
    errors = [error for error in case["errors"].values() if error is not None]
    if errors:
        notes.append(
            "HypLoRA's layers under the clock were checked first: at most "
            f"{max(errors):.0e} from their literal definition."
        )
    header = ("Method", *heads, *(("Peak, GiB",) if memory else ()), "Trainable")
    return Section(case_title(case), header, tuple(rows), tuple(notes))


def _throughput(found: Mapping[str, Any]) -> Section:
    rows = [
        (
            name,
            f"{loop['tokens_per_second']:,.0f}",
            f"{loop['ratio']:.2f} [{loop['ratio_low']:.2f}, {loop['ratio_high']:.2f}]",
            f"{loop['utilisation']:.0%}",
        )
        for name, loop in found["loops"].items()
    ]
    notes = [
        f"LoRA on {found['model']}, {found['rows']} rows of {', '.join(found['data'])} "
        f"({found['tokens']:,} tokens), {found['batch_size']} to a step; this loop splits a step "
        f"into {found['micro_batch_size']} rows of like length, the Trainer takes it whole.",
        "Utilisation: the model's own arithmetic (attention's products left out) as a share of "
        f"the rate of a large matrix product here, {found['matmul_flops_per_second'] / 1e9:,.0f} "
        "GFLOP/s.",
        f"The two loss curves differ by at most {found['loss_difference']:.0e} of the loss.",
    ]
    header = ("Fine-tuning loop", "Tokens a second", "Ratio", "Utilisation")
    return Section("The whole loop beside a Trainer", header, tuple(rows), tuple(notes))


def _published() -> Section:
    published = yaml.safe_load((FOLDER / f"{NAME}.yaml").read_text(encoding="utf-8"))
    rows = []
    found = published["inference"]["rows"]
    sets = [key for key in found[0] if key not in ("base", "method")]
    for row in found:
        base = next(r for r in found if (r["base"], r["method"]) == (row["base"], REFERENCE))
        cells = [f"{row[key] / base[key]:.2f}" for key in sets]
        rows.append((method_label(row["method"]), row["base"], *cells))
    notes = [
        f"Inference time as a multiple of LoRA's. {published['inference']['source']}.",
        "Memory while fine-tuning: "
        + "; ".join(
            f"{method_label(row['method'])} {row['gigabytes']:.2f} GB on {row['base']}"
            for row in published["memory"]["rows"]
        )
        + f". {published['memory']['source']}.",
        *published["notes"],
    ]
    return Section("The paper's", ("Method", "Base", *sets), tuple(rows), tuple(notes), names=2)


def _ratio(timing: Mapping[str, float] | None) -> str:
    if timing is None:
        return EMPTY
    return f"{timing['ratio']:.2f} [{timing['ratio_low']:.2f}, {timing['ratio_high']:.2f}]"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
