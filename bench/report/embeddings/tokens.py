"""Tables of token types: how often they occur, and the norms of their embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.names import key_of
from bench.report.tables import Cell, Column, Row, Table

Study = Mapping[str, Any]
ROLES = {"input": "input", "output": "output", "states": "last block's output"}
TYPES = {"all": "all", "frequent": "frequent", "content": "content words"}
COUNTED = {"texts": "", "pretraining": ", pretraining"}
ALTERNATIVES = ("lognormal", "exponential")
GROUP_COLUMNS = (
    Column("freq_mean", "Frequency, mean", ",.1f"),
    Column("freq_min", "min", ",.0f"),
    Column("freq_max", "max", ",.0f"),
    Column("norm_mean", "Norm, mean", ".3f"),
    Column("norm_min", "min", ".3f"),
    Column("norm_max", "max", ".3f"),
)


def frequency_table(study: Study, published: Mapping[str, Any]) -> Table:
    """The counts of each set with the power law fitted to them."""
    papers = {key_of(row["set"]): row["gamma"] for row in published["rows"]}
    replicas = study["settings"]["power_replicas"]
    columns = [
        Column("tokens", "Tokens", ","),
        Column("types", "Types", ","),
        Column("gamma", "γ [95%]", ".2f", show="range"),
        Column("xmin", "xmin", ","),
        Column("tail", "In the tail", ","),
        Column("ks", "KS", ".3f"),
        Column("p", "p", ".2f"),
    ]
    for name in ALTERNATIVES:
        columns.append(Column(f"{name}_ratio", f"vs. {name}", "+.1f"))
        columns.append(Column(f"{name}_p", "p", "p"))
    columns.append(Column("published", "Paper's γ", ".2f"))
    rows = []
    for row in study["frequency"]:
        cells = {key: Cell(row[key]) for key in ("tokens", "types")}
        cells["published"] = Cell(papers.get(key_of(row["set"])))
        if row["gamma"] is not None:
            cells["gamma"] = Cell(row["gamma"], low=row["low"], high=row["high"])
            cells |= {key: Cell(row[key]) for key in ("xmin", "tail", "ks")}
            cells["p"] = Cell(bounded(row["p"], replicas))
            for name in ALTERNATIVES:
                cells |= {
                    f"{name}_{key}": Cell(row["against"][name][key]) for key in ("ratio", "p")
                }
        rows.append(Row((row["label"],), cells, keys={"set": row["set"]}))
    notes = (
        "Types: distinct tokens. A type occurs k times with probability ~ k^-γ for k of at least "
        "xmin: maximum likelihood for whole numbers, xmin at the smallest Kolmogorov-Smirnov "
        "distance (KS). The interval takes xmin as known.",
        f"p: share of {replicas} samples of the fitted law that are further from their own fits; "
        "below 0.1 the power law is rejected.",
        "vs.: log-likelihood of the power law minus the other's over the same tail, and the "
        "p-value of its sign; positive if the power law fits better.",
        f"The paper's: {published['source']}.",
    )
    return Table("frequency", "Token frequency", tuple(columns), tuple(rows), ("Set",), notes)


def bounded(p: float | None, replicas: int) -> float | str | None:
    """A bootstrap p-value; `<0.01` if none of 100 replicas reached it."""
    return f"<{1 / replicas:.2g}" if p == 0 else p


def groups_table(study: Study, published: Mapping[str, Any]) -> Table:
    """Frequencies and norms of the paper's word groups: its Table 1."""
    base, groups = study["model"]["published"], study["norms"]["groups"]
    papers = {
        row["group"]: Row((row["group"], f"paper's {base}"), _figures(row))
        for row in published["rows"]
        if base and key_of(row["base"]) == key_of(base)
    }
    both = [(_group_row(group), papers.get(group["group"])) for group in groups]
    words = "; ".join(f"{name} {', '.join(words)}" for name, words in published["words"].items())
    notes = [
        f"Words: {words}.",
        "A word counts if it is a single token; of its forms with and without a space and a "
        "capital the most frequent one is taken.",
    ]
    if missing := _missing(groups):
        notes.append(f"Not available here: {', '.join(missing)}.")
    if papers:
        notes.append(f"The paper's: {published['source']}; which texts it counts is not stated.")
    else:
        bases = dict.fromkeys(row["base"] for row in published["rows"])
        notes.append(f"The paper ({published['source']}) has {', '.join(bases)}.")
    rows = [row for pair in both for row in pair if row]
    return _groups("groups", "The paper's word groups", rows, notes)


def state_groups_table(study: Study) -> Table | None:
    """The same words after the last block."""
    groups = study["norms"]["state_groups"]
    if not groups:
        return None
    notes = [
        "Norms of the last block's output, before the final norm (after which all states have "
        "about the same length): mean over a word's positions in the prompts except the first. For "
        "a model on a hyperboloid: of the space coordinates. HELM (arXiv 2505.24722) measures "
        "specificity this way.",
    ]
    if missing := [word for word in _missing(groups) if "prompts" in word]:
        notes.append(f"Not available here only: {', '.join(missing)}.")
    heading = "The same words after the last block"
    return _groups("state_groups", heading, list(map(_group_row, groups)), notes)


def _groups(key: str, heading: str, rows: Sequence[Row], notes: Sequence[str]) -> Table:
    names = ("Group", "")
    return Table(key, heading, GROUP_COLUMNS, tuple(rows), names, tuple(notes), grouped=True)


def _group_row(group: Mapping[str, Any]) -> Row:
    known = len(group["words"])
    name = f"{known} of {known + len(group['missing'])} words"
    return Row((group["group"], name), _figures(group))


def _figures(values: Mapping[str, Any]) -> dict[str, Cell]:
    return {column.key: Cell(values[column.key]) for column in GROUP_COLUMNS}


def _missing(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{word['word']} ({word['why']})" for group in groups for word in group["missing"]]


def correlations_table(study: Study) -> Table:
    """Spearman's rho between count and norm."""
    rows: dict[tuple[str, str], dict[str, Cell]] = {}
    for row in study["norms"]["correlations"]:
        matrix = ROLES[row["role"]] + (", centred" if row["centred"] else "")
        rows.setdefault((matrix, TYPES[row["tokens_of"]]), {}).update(
            {
                f"n_{row['counted']}": Cell(row["n"]),
                f"rho_{row['counted']}": Cell(
                    row["rho"], low=row["low"], high=row["high"], n=row["n"]
                ),
            }
        )
    counted = [n for n in COUNTED if any(f"n_{n}" in cells for cells in rows.values())]
    columns = []
    for name in counted:
        columns.append(Column(f"n_{name}", f"n{COUNTED[name]}", ""))
        columns.append(Column(f"rho_{name}", f"ρ [95%]{COUNTED[name]}", "+.2f", show="range"))
    notes = [
        "Spearman's ρ between a type's count and the norm of its row, with a bootstrap interval "
        "over types. Negative: frequent types are closer to the origin.",
        "all: the types that occur. frequent: at least 20 times. content words: of these, whole "
        "words of at least three letters that are no function words.",
        "centred: minus the mean row of the types that occur in the texts.",
    ]
    if "pretraining" in counted:
        notes.append("pretraining: counted in a sample of the base's pretraining text.")
    unseen = study["unseen"]
    if unseen["tokens"]:
        notes.append(
            f"{unseen['tokens']:,} types of the tokenizer never occur and are excluded: their "
            f"norms ({unseen['norm_mean']:.3f} ± {unseen['norm_sd']:.3f}) may only reflect the "
            "initialisation, and could produce a correlation by themselves."
        )
    lines = tuple(Row(names, cells) for names, cells in rows.items())
    names = ("Matrix", "Types")
    return Table("correlations", "Norm vs. frequency", tuple(columns), lines, names, tuple(notes))
