"""The report on pretraining runs: bits per byte, each model vs. its twin, and measurements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Any

from bench.report.comparison import Comparison
from bench.report.facts import tuning_fact
from bench.report.notes import commits
from bench.report.pretraining import tables
from bench.report.published import read_published
from bench.report.selection import Group, Selection
from bench.report.tables import Report, Table, between, number

EVEN = 0.98  # entropy of a router's load that is called even
SIMILAR = 0.8  # mean cosine at which tokens are called nearly identical
SPEED = "tokens_per_second"
SOURCES = {"synthetic": "embedded corpus", "text": "own text"}


def pretraining_report(selection: Selection, found: Sequence[Comparison]) -> Report:
    """Pretraining runs as tables, with the comparisons found.

    Raises:
        ValueError: there is no run, or no such file of published figures.
    """
    spec, rows = selection.spec, selection.groups
    if not rows:
        raise ValueError("there is no finished pretraining run")
    published = read_published(spec.published) if spec.published else {}
    chance = {task: published["chance"][key] for task, key in published.get("tasks", {}).items()}
    made = [
        Table("findings", "Findings", notes=(*_notes(selection), *_findings(rows, found))),
        tables.main_table(rows),
        tables.twin_table(found) if found else None,
        tables.routing_table(rows),
        tables.curvature_table(rows),
        tables.initialisation_table(rows),
        tables.tasks_table(rows, chance),
        tables.published_table(published) if published else None,
    ]
    measure = "bits per byte of the validation documents"
    tuning = tuning_fact(selection, rows, "learning rate and warm-up", measure)
    facts = _facts(rows) | {"Tuning": tuning}
    return Report(spec.name, spec.title, facts, tuple(table for table in made if table))


def _notes(selection: Selection) -> Iterator[str]:
    yield from selection.sweep.remarks
    if selection.incomplete:
        yield selection.incomplete


def _facts(rows: Sequence[Group]) -> dict[str, str]:
    runs = [record for row in rows for record in row.records]
    first = runs[0]
    train = first["train"]
    rate = _by_model(rows, "lr", "g")
    warmup = _by_model(rows, "warmup", ".0%")
    return {
        "Models": f"size {_distinct(run['size'] for run in runs)}, "
        f"tokenizer {_distinct(run['tokenizer'] for run in runs)} "
        f"({first['vocabulary']:,} entries)",
        "Data": f"{SOURCES[first['data']]}, "
        f"sha256 {_distinct(run['hashes']['text'][:10] for run in runs)}; "
        f"{first['training']['passes']:.2f} passes",
        "Documents": ", ".join(
            f"{name} {part['documents']:,} ({part['bytes']:,} bytes, sha256 {part['sha256'][:10]})"
            for name, part in first["text"].items()
        ),
        "Training": f"{train['steps']:,} steps of {train['step_tokens']:,} tokens in packed rows "
        f"of {train['row_tokens']:,}, AdamW, learning rate {rate}, warm-up {warmup} of the steps, "
        f"cosine to {train['lr_floor']:.0%}, weight decay {train['weight_decay']:g} on matrices, "
        f"gradient clip {train['gradient_clip']:g}, "
        f"{train['precision']}",
        "Seeds": ", ".join(map(str, sorted({run["seed"] for run in runs}))),
        "Device": _distinct(run["device"] for run in runs),
        "Code": commits(runs),
    }


def _by_model(rows: Sequence[Group], key: str, form: str) -> str:
    """A training setting: of all rows, or of each if they differ."""
    values = {row.label: format(row.first["train"][key], form) for row in rows}
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{value} ({label})" for label, value in values.items())


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _findings(rows: Sequence[Group], found: Sequence[Comparison]) -> Iterator[str]:
    """Sentences that follow from the numbers, whatever they show."""
    by_key = {row.key: row for row in rows}
    for each in found:
        row, twin = by_key[each.row], by_key[each.reference]
        yield _verdict(each, twin)
        speed = tables.mean_of(row, SPEED) / tables.mean_of(twin, SPEED)
        yield f"{row.label} trains at {speed:.2f} times the tokens per second of {twin.label} here."
    for row in rows:
        moved = [abs(e / start - 1) for start, ends in tables.experts(row).values() for e in ends]
        if moved:
            yield (
                f"{row.label}: the experts' K changed by {fmean(moved):.1%} on average, by "
                f"{max(moved):.1%} at most."
            )
        starts = {name: own for name, own in tables.states(row).items() if name != "trained"}
        for name, (similarity, entropy) in starts.items() if len(starts) > 1 else ():
            last = max(similarity[1:])
            text = f"{row.label}, {name} initialisation: mean cosine of tokens {similarity[0]:.2f} "
            text += f"after the embedding, up to {last:.2f} after a block"
            text += " (tokens nearly identical)" if last >= SIMILAR else ""
            if entropy:
                text += f"; smallest entropy of expert load {min(entropy):.2f}"
                text += " (1 is even)" if min(entropy) < EVEN else " (even)"
            yield text + "."


def _verdict(found: Comparison, twin: Group) -> str:
    head = f"{found.label} vs. {found.reference_label}: {found.verdict}, "
    if found.difference is None:
        return f"{head}{found.why}."
    share = abs(found.difference / float(tables.bits_per_byte(twin).value or 1.0))
    more = "more" if found.difference > 0 else "fewer"
    amount = f"{abs(found.difference):.4f} bits per byte {more} ({share:.1%})"
    if found.low is None:
        return f"{head}{found.why}; {amount} in the finished runs."
    interval = between(found.low, found.high, "+z.4f")
    facts = f"{amount}; 95% interval {interval}, p (Holm) {number(found.p_holm or 0.0, 'p')}"
    return f"{head}{facts}."
