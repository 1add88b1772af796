"""The report on pretraining runs: bits per byte, each model vs. its twin, and measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import yaml

from bench.report.comparison import BETTER, WORSE, Comparison
from bench.report.pretraining.comparisons import comparisons_of
from bench.report.pretraining.rows import PretrainedRow, rows_of
from bench.report.pretraining.tables import (
    curvature_table,
    curvatures,
    initialisation_table,
    initialisations,
    main_table,
    published_table,
    routing_table,
    tasks_table,
    twin_table,
)
from bench.report.published import FOLDER
from bench.report.selection import Selection
from bench.report.tables import Report, Table, between, number

EVEN = 0.98  # entropy of a router's load that is called even
SIMILAR = 0.8  # mean cosine at which tokens are called nearly identical


def pretraining_report(selection: Selection) -> Report:
    """Pretraining runs as tables.

    Raises:
        ValueError: there is no run, or no such file of published figures.
    """
    rows = rows_of(selection)
    found = comparisons_of(rows, selection.contrasts)
    published = _published(selection.spec.published)
    chance = {task: published["chance"][key] for task, key in published.get("tasks", {}).items()}
    tables = [
        Table("findings", "Findings", notes=tuple(_findings(rows, found))),
        main_table(rows),
        twin_table(found) if found else None,
        routing_table(rows),
        curvature_table(rows),
        initialisation_table(rows),
        tasks_table(rows, chance),
        published_table(published) if published else None,
    ]
    spec, kept = selection.spec, tuple(table for table in tables if table)
    return Report(spec.name, spec.title, _facts(rows), kept)


def pretraining_comparisons(selection: Selection) -> tuple[Comparison, ...]:
    """Each model against its twin; errors as of `pretraining_report`."""
    return comparisons_of(rows_of(selection), selection.contrasts)


def _published(name: str | None) -> dict[str, Any]:
    """The paper's pretrained models; empty without a name."""
    if name is None:
        return {}
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"no published figures {name!r} in {FOLDER}")
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def _facts(rows: Sequence[PretrainedRow]) -> dict[str, str]:
    runs = [record for row in rows for record in row.records.values()]
    first = runs[0]
    train, training = first["train"], first["training"]
    seeds = sorted({seed for row in rows for seed in row.records})
    dirty = sum(bool(run["git"]["dirty"]) for run in runs)
    data = {"synthetic": "embedded corpus", "text": "own text"}[first["data"]]
    return {
        "Models": f"size {_distinct(run['size'] for run in runs)}, "
        f"tokenizer {_distinct(run['tokenizer'] for run in runs)} "
        f"({first['vocabulary']:,} entries)",
        "Data": f"{data}, sha256 {_distinct(run['hashes']['text'][:10] for run in runs)}; "
        f"{training['passes']:.2f} passes",
        "Training": f"{train['steps']:,} steps of {train['step_tokens']:,} tokens in packed rows "
        f"of {train['row_tokens']:,}, AdamW, {_rates(rows)}, {train['warmup']:.0%} "
        f"warm-up (not tuned), cosine to {train['lr_floor']:.0%}, weight decay "
        f"{train['weight_decay']:g} on matrices, gradient clip {train['gradient_clip']:g}, "
        f"{train['precision']}",
        "Seeds": ", ".join(map(str, seeds)),
        "Device": _distinct(run["device"] for run in runs),
        "Code": f"commit {_distinct(str(run['git']['commit'])[:10] for run in runs)}"
        + (f", {dirty} of {len(runs)} runs with uncommitted changes" if dirty else ""),
    }


def _rates(rows: Sequence[PretrainedRow]) -> str:
    """The learning rate; of each row if they differ."""
    rates = {row.label: f"{row.first['train']['lr']:g}" for row in rows}
    if len(set(rates.values())) == 1:
        return f"learning rate {next(iter(rates.values()))}"
    return "learning rate " + ", ".join(f"{rate} ({label})" for label, rate in rates.items())


def _distinct(values: Any) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _findings(rows: Sequence[PretrainedRow], found: Sequence[Comparison]) -> Iterator[str]:
    """Sentences that follow from the numbers, whatever they show."""
    by_key = {row.key: row for row in rows}
    for each in found:
        row, twin = by_key[each.row], by_key[each.reference]
        yield _verdict(each, twin)
        speed = row.mean_of("tokens_per_second") / twin.mean_of("tokens_per_second")
        yield f"{row.label} trains at {speed:.2f} times the tokens per second of {twin.label} here."
    for row in rows:
        yield from _moved(row)
        yield from _start(row)


def _verdict(found: Comparison, twin: PretrainedRow) -> str:
    names = f"{found.label} vs. {found.reference_label}"
    if found.difference is None:
        return f"{names}: {found.verdict}, {found.why}."
    share = abs(found.difference / float(twin.bits.value or 1.0))
    more = "more" if found.difference > 0 else "fewer"
    amount = f"{abs(found.difference):.4f} bits per byte {more} ({share:.1%})"
    if found.low is None:
        return f"{names}: {found.verdict}, {found.why}; {amount} in the finished runs."
    interval = between(found.low, found.high, "+z.4f")
    facts = f"{amount}; 95% interval {interval}, p (Holm) {number(found.p_holm or 0.0, 'p')}"
    limits = " (warm-up not tuned; see the notes)" if found.verdict in (BETTER, WORSE) else ""
    return f"{names}: {found.verdict}, {facts}{limits}."


def _moved(row: PretrainedRow) -> Iterator[str]:
    """How far the learned curvatures of a model's experts moved."""
    moved = [
        abs(end / start - 1)
        for record in row.records.values()
        for name, start, end in curvatures(record)
        if name != "stream"
    ]
    if moved:
        yield (
            f"{row.label}: the experts' K changed by {np.mean(moved):.1%} on average, by "
            f"{max(moved):.1%} at most."
        )


def _start(row: PretrainedRow) -> Iterator[str]:
    """What each initialisation does to the tokens, if a model has several."""
    found = initialisations(row)
    for name, layers in found.items() if len(found) > 1 else ():
        first, last = layers["similarity"][0], max(layers["similarity"][1:])
        text = f"{row.label}, {name} initialisation: mean cosine of tokens {first:.2f} after the "
        text += f"embedding, up to {last:.2f} after a block"
        text += " (tokens nearly identical)" if last >= SIMILAR else ""
        if layers["entropy"]:
            lowest = min(layers["entropy"])
            text += f"; smallest entropy of expert load {lowest:.2f}"
            text += " (1 is even)" if lowest < EVEN else " (even)"
        yield text + "."
