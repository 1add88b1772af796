"""Tables of token types: how often they occur, and the norms of their embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.names import key_of
from bench.report.tables import EMPTY, Cell, Column, Row, Table, number

Study = Mapping[str, Any]
MATRICES = {
    ("input", False): "input",
    ("input", True): "input, centred",
    ("output", False): "output",
    ("output", True): "output, centred",
    ("states", False): "last block's output",
}
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
    columns = (
        Column("tokens", "Tokens", ","),
        Column("types", "Types", ","),
        Column("gamma", "γ [95%]", ".2f", show="range"),
        Column("xmin", "xmin", ","),
        Column("tail", "In the tail", ","),
        Column("ks", "KS", ".3f"),
        Column("p", "p", ".2f"),
        *(
            column
            for name in ALTERNATIVES
            for column in (
                Column(f"{name}_ratio", f"vs. {name}", "+.1f"),
                Column(f"{name}_p", "p", "p"),
            )
        ),
        Column("published", "Paper's γ", ".2f"),
    )
    rows = []
    for row in study["frequency"]:
        cells = {key: Cell(row[key]) for key in ("tokens", "types")}
        cells["published"] = Cell(papers.get(key_of(row["set"])))
        if row["gamma"] is not None:
            cells["gamma"] = Cell(row["gamma"], low=row["low"], high=row["high"])
            cells |= {key: Cell(row[key]) for key in ("xmin", "tail", "ks", "p")}
            for name in ALTERNATIVES:
                cells[f"{name}_ratio"] = Cell(row["against"][name]["ratio"])
                cells[f"{name}_p"] = Cell(row["against"][name]["p"])
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
    return Table("frequency", "Token frequency", columns, tuple(rows), ("Set",), notes)


def p_value(value: float | None, replicas: int) -> str:
    """A bootstrap p-value; one that no replica reached is below 1 / replicas."""
    if value is None:
        return EMPTY
    return number(value, ".2f") if value else f"<{1 / replicas:.2g}"


def groups_table(study: Study, published: Mapping[str, Any]) -> Table:
    """Frequencies and norms of the paper's word groups: its Table 1."""
    base = study["model"]["published"]
    papers = {
        row["group"]: row
        for row in published["rows"]
        if base and key_of(row["base"]) == key_of(base)
    }
    rows, missing = [], []
    for group in study["norms"]["groups"]:
        rows.append(_group_row(group))
        if paper := papers.get(group["group"]):
            rows.append(_row(group["group"], f"paper's {base}", paper))
        missing += _missing(group)
    members = "; ".join(f"{name} {', '.join(words)}" for name, words in published["words"].items())
    notes = [
        f"Words: {members}.",
        "A word counts if it is a single token; of its forms with and without a space and a "
        "capital the most frequent one is taken.",
    ]
    if missing:
        notes.append(f"Not available here: {', '.join(missing)}.")
    if papers:
        notes.append(f"The paper's: {published['source']}; which texts it counts is not stated.")
    else:
        bases = dict.fromkeys(row["base"] for row in published["rows"])
        notes.append(f"The paper ({published['source']}) has {', '.join(bases)}.")
    return _groups("groups", "The paper's word groups", rows, notes)


def state_groups_table(study: Study) -> Table | None:
    """The same words after the last block."""
    groups = study["norms"]["state_groups"]
    missing = [word for group in groups for word in _missing(group) if "prompts" in word]
    notes = [
        "Norms of the last block's output, before the final norm (after which all states have "
        "about the same length): mean over a word's positions in the prompts except the first. For "
        "a model on a hyperboloid: of the space coordinates. HELM (arXiv 2505.24722) measures "
        "specificity this way.",
    ]
    if missing:
        notes.append(f"Not available here only: {', '.join(missing)}.")
    if not groups:
        return None
    rows = [_group_row(group) for group in groups]
    return _groups("state_groups", "The same words after the last block", rows, notes)


def _groups(key: str, heading: str, rows: list[Row], notes: list[str]) -> Table:
    names = ("Group", "")
    return Table(key, heading, GROUP_COLUMNS, tuple(rows), names, tuple(notes), grouped=True)


def _group_row(group: Mapping[str, Any]) -> Row:
    total = len(group["words"]) + len(group["missing"])
    return _row(group["group"], f"{len(group['words'])} of {total} words", group)


def _row(group: str, name: str, values: Mapping[str, Any]) -> Row:
    return Row((group, name), {column.key: Cell(values[column.key]) for column in GROUP_COLUMNS})


def _missing(group: Mapping[str, Any]) -> list[str]:
    return [f"{word['word']} ({word['why']})" for word in group["missing"]]


def correlations_table(study: Study) -> Table:
    """Spearman's rho between count and norm."""
    found = study["norms"]["correlations"]
    by_kind = {
        (row["role"], row["centred"], row["tokens_of"], row["counted"]): row for row in found
    }
    counted = [name for name in COUNTED if any(row["counted"] == name for row in found)]
    rows = []
    for (role, centred), matrix in MATRICES.items():
        for of, types in TYPES.items():
            cells = {}
            for name in counted:
                if row := by_kind.get((role, centred, of, name)):
                    cells[f"n_{name}"] = Cell(row["n"])
                    cells[f"rho_{name}"] = Cell(
                        row["rho"], low=row["low"], high=row["high"], n=row["n"]
                    )
            if cells:
                rows.append(Row((matrix, types), cells))
    columns = tuple(
        column
        for name in counted
        for column in (
            Column(f"n_{name}", f"n{COUNTED[name]}", ""),
            Column(f"rho_{name}", f"ρ [95%]{COUNTED[name]}", "+.2f", show="range"),
        )
    )
    unseen = study["unseen"]
    notes = [
        "Spearman's ρ between a type's count and the norm of its row, with a bootstrap interval "
        "over types. Negative: frequent types are closer to the origin.",
        "all: the types that occur. frequent: at least 20 times. content words: of these, whole "
        "words of at least three letters that are no function words.",
        "centred: minus the mean row of the types that occur in the texts.",
    ]
    if "pretraining" in counted:
        notes.append("pretraining: counted in a sample of the base's pretraining text.")
    if unseen["tokens"]:
        notes.append(
            f"{unseen['tokens']:,} types of the tokenizer never occur and are excluded: their "
            f"norms ({unseen['norm_mean']:.3f} ± {unseen['norm_sd']:.3f}) may only reflect the "
            "initialisation, and could produce a correlation by themselves."
        )
    names = ("Matrix", "Types")
    return Table("correlations", "Norm vs. frequency", columns, tuple(rows), names, tuple(notes))
