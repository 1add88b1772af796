"""What a table of scores compares, by name: base, data, items, seeds, settings and tuning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.names import curvature_label, seeds_label
from bench.report.records import Record, training_settings
from bench.report.scores import ScoreRow, ScoreTable
from bench.report.selection import Group, Selection

# Options of adapters that have a fact of their own, by name.
OPTIONS = {
    "r": "Rank",
    "lora_alpha": "Alpha",
    "bottleneck_size": "Bottleneck",
    "num_virtual_tokens": "Virtual tokens",
    "target_modules": "Target modules",
}
OWN = ("curvature", *OPTIONS)
NONE = "none"
LONGEST = 8  # characters of a number


def facts(table: ScoreTable) -> dict[str, str]:
    """Base, data, protocol, items, seeds, and the settings that the rows share."""
    spec, first = table.selection.spec, table.rows[0].first
    validation = ", validation rows" if first["split"] == "validation" else ""
    published = first["published_base"]
    found = {
        "Table": f"{spec.name} ({spec.note})" if spec.note else spec.name,
        "Base": first["model"] + (f" ({published} in the paper)" if published else ""),
        "Data": first["data"] + validation,
        "Protocol": first["protocol"],
        "Items": ", ".join(f"{found.label} {found.items}" for found in table.benchmarks),
        "Seeds": by_value((row.label, _seeds(row)) for row in table.rows),
        "Answers read by": by_value((found.label, found.rule) for found in table.benchmarks),
    }
    # A label with K names it already.
    unnamed = [
        (row.label, " or ".join(dict.fromkeys(map(curvature_label, known))))
        for row in table.rows
        if (known := [run["curvature"] for run in row.records if run["curvature"] is not None])
        and "K=" not in row.label
    ]
    if unnamed:
        found["Curvature"] = by_value(unnamed)
    trained = [row for row in table.rows if training_settings(row.first)]
    if trained:
        found |= _adapters(trained)
        found["Tuning"] = tuning_fact(table.selection, trained)
        found["Trained on"] = by_value((row.label, _training_rows(row)) for row in trained)
        settings = {row.label: _over_runs(row, training_settings) for row in trained}
        found |= _settings("Training", settings)
    return found


def _adapters(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """Rank, alpha, target modules and sizes of all rows, then other settings that they share."""
    options = {row.label: _over_runs(row, lambda run: run["options"]) for row in rows}
    found = {
        title: by_value((label, _plain(each.get(name, NONE))) for label, each in options.items())
        for name, title in OPTIONS.items()
        if any(name in each for each in options.values())
    }
    found["Trained parameters"] = by_value((row.label, f"{row.trainable:,}") for row in rows)
    others = {
        label: {name: value for name, value in each.items() if name not in OWN}
        for label, each in options.items()
    }
    return found | _settings("Adapter", others)


def _over_runs(row: ScoreRow, of: Callable[[Record], Mapping[str, Any]]) -> dict[str, str]:
    """Settings of a row's runs as text; each distinct value if its seeds have different ones."""
    found = [of(run) for run in row.records]
    return {
        name: " or ".join(dict.fromkeys(_plain(each[name]) for each in found if name in each))
        for name in found[0]
    }


def tuning_fact(
    selection: Selection,
    rows: Sequence[Group],
    what: str = "learning rate",
    measure: str = "validation loss",
) -> str:
    """How the settings `what` were chosen, and for which rows they were not tuned.

    Searches without a file of rates chose further settings, which the table's remarks name.
    """
    tuning = {row.key: row.tuning for row in selection.sweep.rows}
    known = {row.label: tuning[row.key] for row in rows}
    tuned = {label: facts for label, facts in known.items() if facts}
    if tuned and all(each.get("file", "") is None for each in tuned.values()):
        what = "settings"
    parts = []
    if tuned:
        budgets = (
            (label, f"{each['tries']} tries each on {measure}, {seeds_label(each['seeds'])}")
            for label, each in tuned.items()
        )
        parts.append(f"{what} tuned: {by_value(budgets)}")
    if untuned := [label for label in known if label not in tuned]:
        parts.append(f"{what} not tuned: {', '.join(untuned) if tuned else 'all rows'}")
    if edge := [label for label, each in tuned.items() if not each.get("interior", True)]:
        parts.append(f"best rate at the end of its grid: {', '.join(edge)}")
    return "; ".join(parts)


def by_value(pairs: Iterable[tuple[str, str]]) -> str:
    """The value that most rows share, then the rows that have another.

    >>> by_value([("LoRA", "3"), ("DoRA", "3"), ("Series", "2")])
    '3 (Series: 2)'
    """
    labels: dict[str, list[str]] = {}
    for label, value in pairs:
        labels.setdefault(value, []).append(label)
    common = max(labels, key=lambda value: len(labels[value]))
    total = sum(map(len, labels.values()))
    if 2 * len(labels[common]) <= total and len(labels) > 1:
        return "; ".join(f"{', '.join(names)}: {value}" for value, names in labels.items())
    others = [f"{', '.join(names)}: {value}" for value, names in labels.items() if value != common]
    return common + (f" ({'; '.join(others)})" if others else "")


def _seeds(row: ScoreRow) -> str:
    return ", ".join(str(seed) for seed in row.seeds if seed is not None) or "one run, no seed"


def _training_rows(row: ScoreRow) -> str:
    rows = row.first["rows"]
    padding = fmean(run["training"]["padding"] for run in row.records)
    counts = f"{rows['train']} rows, {rows['train_too_long']} left out as too long"
    return f"{counts}, {padding:.0%} padding"


def _settings(title: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A fact of the settings that all rows share, then one for each that differs.

    A setting that not every row has (a curvature, a norm scale) belongs to its method and is left
    to the record.
    """
    names = [name for name in next(iter(rows.values())) if all(name in s for s in rows.values())]
    values = {name: [_plain(settings[name]) for settings in rows.values()] for name in names}
    shared = [name for name in names if len(set(values[name])) == 1]
    found = {title: ", ".join(f"{name} {values[name][0]}" for name in shared)} if shared else {}
    return found | {
        name: by_value(zip(rows, values[name], strict=True)) for name in names if name not in shared
    }


def _plain(value: object) -> str:
    if isinstance(value, float) and len(str(value)) > LONGEST:  # from a continuous range
        return f"{value:.4g}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
