"""Tables of relative delta-hyperbolicity, each value with its controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from statistics import fmean, stdev
from typing import Any

from bench.names import key_of
from bench.report.tables import Cell, Column, Row, Table

Study = Mapping[str, Any]
METRICS = {"euclidean": "Euclidean", "cosine": "cosine"}
BASE_POINTS = {"first": "First token", "all": "Every token"}
CONTROLS = {"gaussian": "Gaussian", "shuffled": "shuffled"}


def spaces_table(study: Study, published: Mapping[str, Any]) -> Table:
    """Spaces of known shape: the paper's Table 2, left."""
    papers = {row["space"]: Cell(row["mean"], row["sd"]) for row in published["rows"]}
    ways = {"sampled": "1,000 four-tuples", "first": "First point", "exact": "Every point"}
    rows = [
        Row(
            (row["space"],),
            {way: spread(row[way]) for way in ways}
            | {"published": papers.pop(row["space"], Cell())},
        )
        for row in study["spaces"]
    ]
    rows += [Row((name,), {"published": cell}) for name, cell in papers.items()]
    points, samples = study["settings"]["points"], study["settings"]["samples"]
    drawn = "; ".join(f"{row['space']} ({row['note']})" for row in study["spaces"])
    notes = (
        f"2 δ / diameter of {points} points, mean ± standard deviation over {samples} samples of "
        "the space. δ: largest of 1,000 random four-tuples, as in the paper; from the first point "
        "as base, as for prompts below; and over all base points.",
        f"Samples: {drawn}.",
        f"The paper's: {published['source']}.",
        *published["notes"],
    )
    columns = _columns(ways | {"published": "Paper's"})
    return Table("spaces", "Reference spaces", columns, tuple(rows), ("Space",), notes)


def prompts_table(study: Study, published: Mapping[str, Any]) -> Table:
    """Input embeddings of the prompts: the paper's Table 2, right."""
    base = study["model"]["published"]
    papers = next((row for row in published["rows"] if _same(row["base"], base)), None)
    values = {key_of(name): value for name, value in (papers or {}).items()}
    columns: dict[str, str] = {}
    rows = []
    but_base_point = itemgetter("label", "set", "metric")
    for (label, key, metric), found in groupby(study["prompts"], but_base_point):
        cells = _controlled(found, "embeddings", columns)
        if metric == "euclidean" and key_of(key) in values:
            cells["published"] = Cell(*values[key_of(key)])
        rows.append(Row((label, METRICS[metric]), cells))
    notes = [
        "2 δ / diameter of the input embeddings of a prompt's tokens, mean ± standard deviation "
        "over prompts. Gromov products are taken at the first token, as in the paper, or at every "
        "token (the definition).",
        "Gaussian: each type's embedding replaced by a random vector of the same length. shuffled: "
        "replaced by that of another type. Both are drawn anew for each prompt. A value that is "
        "not below both controls is no sign of a tree.",
    ]
    if papers:
        columns["published"] = f"Paper's {base}, first token"
        notes.append(f"The paper's: {published['source']}.")
    else:
        listed = "; ".join(
            f"{row['base']} " + ", ".join(f"{v[0]:.2f}" for k, v in row.items() if k != "base")
            for row in published["rows"]
        )
        notes.append(
            f"The paper ({published['source']}) does not have this base. For MAWPS, SVAMP, GSM8K "
            f"and AQuA it prints {listed}."
        )
    notes += published["notes"]
    heading, names = "Input embeddings of prompts", ("Set", "Distance")
    return Table("prompts", heading, _columns(columns), tuple(rows), names, tuple(notes))


def hidden_table(study: Study, published: Mapping[str, Any]) -> Table:
    """The last hidden layer before and after fine-tuning: the paper's Tables 6 and 7."""
    base, sets = study["model"]["published"], list(study["data"]["prompts"])
    papers = {key_of(r["set"]): r for r in published["rows"] if _same(r["base"], base)}
    ordered = sorted(study["hidden"], key=lambda row: sets.index(row["set"]))
    columns: dict[str, str] = {}
    rows = []
    but_base_point = itemgetter("label", "set", "model", "method")
    for (label, key, model, method), found in groupby(ordered, but_base_point):
        cells = _controlled(found, "states", columns)
        if own := papers.get(key_of(key), {}).get(method):
            cells["published"] = Cell(*own)
        rows.append(Row((label, model), cells, keys={"method": method}))
    notes = [
        "2 δ / diameter of the output layer's inputs for the tokens of the same prompts; Euclidean "
        "distance. Gaussian: random vectors of the same lengths. shuffled: the set's states "
        "permuted among its prompts, except the first of each prompt.",
    ]
    if papers:
        columns["published"] = f"Paper's {base}"
        notes.append(f"The paper's: {published['source']}.")
    runs = {row["model"]: row["run"] for row in study["hidden"] if row["run"]}
    if runs:
        listed = ", ".join(f"{model} {run}" for model, run in runs.items())
        notes.append(f"One run of each method: {listed}.")
    elif all(row["method"] == "none" for row in study["hidden"]):
        notes.append(
            "There is no finished run on this base and these rows: `make reproduce-table2`, or "
            "'action.adapters=[FOLDER]', adds the methods."
        )
    notes += published["notes"]
    heading, names = "Last hidden layer, before and after fine-tuning", ("Set", "Model")
    rows_, shown = tuple(rows), _columns(columns)
    return Table("hidden", heading, shown, rows_, names, tuple(notes), grouped=True)


def spread(values: Sequence[float]) -> Cell:
    """Mean and standard deviation of a sample."""
    return Cell(fmean(values), stdev(values) if len(values) > 1 else None, n=len(values))


def _same(paper: str, base: str | None) -> bool:
    return base is not None and key_of(paper) == key_of(base)


def _controlled(
    rows: Iterable[Mapping[str, Any]], own: str, labels: dict[str, str]
) -> dict[str, Cell]:
    """Values and controls by base point; the labels of their columns are added."""
    cells: dict[str, Cell] = {}
    for row in rows:
        point = row["base_point"]
        kinds = {own: f"{BASE_POINTS[point]}: {own}"} | CONTROLS
        labels |= {f"{point}_{kind}": label for kind, label in kinds.items()}
        cells |= {f"{point}_{kind}": spread(row[kind]) for kind in kinds}
    return cells


def _columns(labels: Mapping[str, str]) -> tuple[Column, ...]:
    return tuple(Column(key, label, ".2f", show="sd") for key, label in labels.items())
