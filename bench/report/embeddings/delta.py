"""Tables of relative delta-hyperbolicity, each value beside its controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.layout import EMPTY, Section
from bench.report.names import key_of

Report = Mapping[str, Any]
METRICS = {"euclidean": "Euclidean", "cosine": "cosine"}
BASE_POINTS = {"first": "First token", "all": "Every token"}
CONTROLS = {"gaussian": "Gaussian", "shuffled": "shuffled"}


def spaces_section(report: Report, published: Mapping[str, Any]) -> Section:
    """Spaces whose shape is known: the paper's Table 2, left."""
    papers = {row["space"]: row for row in published["rows"]}
    rows = []
    for row in report["spaces"]:
        paper = papers.pop(row["space"], None)
        cell = EMPTY if paper is None else _pair(paper["mean"], paper["sd"])
        found = (spread(row[way]) for way in ("sampled", "first", "exact"))
        rows.append((row["space"], *found, cell))
    rows += [(n, EMPTY, EMPTY, EMPTY, _pair(r["mean"], r["sd"])) for n, r in papers.items()]
    points, samples = report["settings"]["points"], report["settings"]["samples"]
    notes = (
        f"2 δ / diameter of {points} points, mean ± deviation over {samples} drawn spaces: δ of "
        "the worst of 1,000 drawn four-tuples, as the paper says; of those that the first point is "
        "in, as of prompts below; and of all.",
        "Drawn: " + "; ".join(f"{r['space']} ({r['note']})" for r in report["spaces"]) + ".",
        f"The paper's: {published['source']}.",
        *published["notes"],
    )
    header = ("Space", "1,000 four-tuples", "First point", "Every point", "Paper's")
    return Section("Reference spaces", header, tuple(rows), notes)


def prompts_section(report: Report, published: Mapping[str, Any]) -> Section:
    """Input embeddings of the prompts: the paper's Table 2, right."""
    base = report["model"]["published"]
    papers = next((row for row in published["rows"] if _same(row["base"], base)), None)
    rows = []
    for (label, key, metric), measured in _beside(report["prompts"], "label", "set", "metric"):
        cells = _cells(measured, "embeddings")
        if papers:
            values = {key_of(name): value for name, value in papers.items()}
            own = values.get(key_of(key)) if metric == "euclidean" else None
            cells.append(_pair(*own) if own else EMPTY)
        rows.append((label, METRICS[metric], *cells))
    notes = [
        "2 δ / diameter of the input embeddings of a prompt's tokens, mean ± deviation over "
        "prompts. The Gromov products are taken from the first token, as the paper does, or from "
        "every one (the definition).",
        "Gaussian: in place of each type's embedding a random vector as long. Shuffled: that of "
        "another type. Both are drawn anew for each prompt. A value that is not below both says "
        "nothing of a tree.",
    ]
    if papers:
        notes.append(f"The paper's: {published['source']}.")
    else:
        listed = "; ".join(
            f"{row['base']} " + ", ".join(f"{v[0]:.2f}" for k, v in row.items() if k != "base")
            for row in published["rows"]
        )
        notes.append(
            f"The paper ({published['source']}) has no such base. For MAWPS, SVAMP, GSM8K and AQuA "
            f"it prints {listed}."
        )
    header = ["Set", "Distance", *_heads(report["prompts"], "embeddings")]
    if papers:
        header.append(f"Paper's {base}, first token")
    notes += published["notes"]
    title = "Input embeddings of prompts"
    return Section(title, tuple(header), tuple(rows), tuple(notes), names=2)


def hidden_sections(report: Report, published: Mapping[str, Any]) -> list[Section]:
    """The last hidden layer before and after fine-tuning: the paper's Tables 6 and 7."""
    base = report["model"]["published"]
    papers = {key_of(r["set"]): r for r in published["rows"] if _same(r["base"], base)}
    rows, before = [], ""
    for (label, key, model, method), measured in _beside(
        sorted(report["hidden"], key=_order_of_sets(report)), "label", "set", "model", "method"
    ):
        cells = _cells(measured, "states")
        if papers:
            own = papers.get(key_of(key), {}).get(method)
            cells.append(_pair(*own) if own else EMPTY)
        rows.append((label if label != before else "", model, *cells))
        before = label
    header = ["Set", "Model", *_heads(report["hidden"], "states")]
    notes = [
        "2 δ / diameter of what the output layer reads, for the tokens of the same prompts; "
        "Euclidean distance. Gaussian: random vectors as long as these. Shuffled: the set's states "
        "dealt out anew among its prompts, but for each prompt's first.",
    ]
    if papers:
        header.append(f"Paper's {base}")
        notes.append(f"The paper's: {published['source']}.")
    runs = {row["model"]: row["run"] for row in report["hidden"] if row["run"]}
    if runs:
        listed = ", ".join(f"{model} {run}" for model, run in runs.items())
        notes.append(f"Runs, one of each method: {listed}.")
    elif all(row["method"] == "none" for row in report["hidden"]):
        notes.append(
            "No finished run on this base and these rows is on record: after `make "
            "reproduce-table2`, or with 'action.adapters=[FOLDER]', the methods stand here, too."
        )
    notes += published["notes"]
    title = "Last hidden layer, before and after fine-tuning"
    return [Section(title, tuple(header), tuple(rows), tuple(notes), names=2)]


def _order_of_sets(report: Report) -> Any:
    sets = list(report["data"]["prompts"])
    return lambda row: sets.index(row["set"])


def _same(paper: str, base: str | None) -> bool:
    return base is not None and key_of(paper) == key_of(base)


def _beside(
    rows: Sequence[Mapping[str, Any]], *by: str
) -> list[tuple[tuple[Any, ...], list[Mapping[str, Any]]]]:
    """Rows that share what is named, in order of appearance: they differ by their base point."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in by), []).append(row)
    return list(found.items())


def _cells(measured: Sequence[Mapping[str, Any]], own: str) -> list[str]:
    return [spread(row[kind]) for row in measured for kind in (own, *CONTROLS)]


def _heads(rows: Sequence[Mapping[str, Any]], own: str) -> list[str]:
    points = dict.fromkeys(row["base_point"] for row in rows)
    return [
        f"{BASE_POINTS[point]}: {own}" if kind == own else CONTROLS[kind]
        for point in points
        for kind in (own, *CONTROLS)
    ]


def spread(values: Sequence[float]) -> str:
    """`0.20 ± 0.02`: mean and standard deviation of a sample."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.2f}"
    return _pair(mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)))


def _pair(mean: float, sd: float | None) -> str:
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"
