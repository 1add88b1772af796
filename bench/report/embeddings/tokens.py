"""Tables of token types: how often they occur, and how long their embeddings are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report.layout import EMPTY, Section
from bench.report.names import key_of

Report = Mapping[str, Any]
MATRICES = {
    ("input", False): "input",
    ("input", True): "input, centred",
    ("output", False): "output",
    ("output", True): "output, centred",
    ("states", False): "last block's output",
}
TYPES = {
    "all": "all",
    "frequent": "frequent",
    "content": "content words",
}
FIGURES = [f"{kind}_{of}" for kind in ("freq", "norm") for of in ("mean", "min", "max")]
GROUPS = (
    *("Group", "", "Frequency, mean", "least", "most"),
    *("Norm, mean", "smallest", "largest"),
)
COUNTED = {"texts": "", "pretraining": ", pretraining"}


def frequency_section(report: Report, published: Mapping[str, Any]) -> Section:
    """The counts of each set with the power law fitted to them."""
    papers = {key_of(row["set"]): f"{row['gamma']:.2f}" for row in published["rows"]}
    replicas, rows = report["settings"]["power_replicas"], []
    for row in report["frequency"]:
        cells: tuple[str, ...] = (EMPTY,) * 7
        if row["gamma"] is not None:
            cells = (
                f"{row['gamma']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
                str(row["xmin"]),
                f"{row['tail']:,}",
                f"{row['ks']:.3f}",
                p_value(row["p"], replicas),
                *(_ratio(row["against"][name]) for name in ("lognormal", "exponential")),
            )
        paper = papers.get(key_of(row["set"]), EMPTY)
        rows.append((row["label"], f"{row['tokens']:,}", f"{row['types']:,}", *cells, paper))
    header = (
        *("Set", "Tokens", "Types", "γ [95%]", "xmin", "In the tail", "KS", "p"),
        *("Against lognormal", "Against exponential", "Paper's γ"),
    )
    notes = (
        "Types: different tokens. One occurs k times with probability ~ k^-γ, for k of at least "
        "xmin: maximum likelihood for whole numbers, xmin where the Kolmogorov-Smirnov distance "
        "(KS) is least. The interval takes xmin as known.",
        f"p: share of {replicas} samples of the fitted law that are further from their own fits; "
        "below 0.1 the power law is rejected.",
        "Against: log-likelihood of the power law less the other's over the same tail, and in "
        "brackets the p-value of its sign; positive where the power law is nearer to the data.",
        f"The paper's: {published['source']}.",
    )
    return Section("Token frequency", header, tuple(rows), notes)


def p_value(value: float | None, replicas: int) -> str:
    """A p-value from a bootstrap: what none of the replicas reached is below one of them."""
    if value is None:
        return EMPTY
    return f"{value:.2f}" if value else f"<{1 / replicas:.2g}"


def _ratio(other: Mapping[str, float]) -> str:
    p = "<0.001" if other["p"] < 0.001 else f"{other['p']:.3f}"
    return f"{other['ratio']:+.1f} ({p})"


def groups_section(report: Report, published: Mapping[str, Any]) -> Section:
    """Frequencies and norms of the paper's word groups: its Table 1."""
    base = report["model"]["published"]
    papers = {
        row["group"]: row
        for row in published["rows"]
        if base and key_of(row["base"]) == key_of(base)
    }
    rows, missing = [], []
    for group in report["norms"]["groups"]:
        rows.append((group["group"], *_group(group)))
        if group["group"] in papers:
            row = papers[group["group"]]
            rows.append(("", f"paper's {base}", *(_figure(key, row[key]) for key in FIGURES)))
        missing += _without(group)
    members = "; ".join(f"{name} {', '.join(words)}" for name, words in published["words"].items())
    notes = [
        f"Words: {members}.",
        "A word enters where it is one token, of its forms with and without a space and a capital "
        "that with the most occurrences.",
    ]
    if missing:
        notes.append(f"Without a figure here: {', '.join(missing)}.")
    if not papers:
        bases = dict.fromkeys(row["base"] for row in published["rows"])
        notes.append(f"The paper ({published['source']}) has {', '.join(bases)}.")
    else:
        notes.append(f"The paper's: {published['source']}; which texts it counts is not said.")
    return Section("The paper's word groups", GROUPS, tuple(rows), tuple(notes), names=2)


def state_groups_section(report: Report) -> Section | None:
    """The same words behind the last block; None in a study of before this was measured."""
    groups = report["norms"].get("state_groups", ())
    rows = tuple((group["group"], *_group(group)) for group in groups)
    missing = [told for group in groups for told in _without(group) if "prompts" in told]
    notes = [
        "Norms of what the last block gives out, in front of the norm behind which all states are "
        "of about one length: mean over a word's places in the prompts, a prompt's first left out. "
        "Of a model on a hyperboloid: of the space coordinates. HELM (arXiv 2505.24722) looks at "
        "specificity this way.",
    ]
    if missing:
        notes.append(f"Without a figure here alone: {', '.join(missing)}.")
    if not rows:
        return None
    return Section("The same words behind the last block", GROUPS, rows, tuple(notes), names=2)


def _group(group: Mapping[str, Any]) -> tuple[str, ...]:
    total = len(group["words"]) + len(group["missing"])
    words = f"{len(group['words'])} of {total} words"
    return (words, *(_figure(key, group[key]) for key in FIGURES))


def _without(group: Mapping[str, Any]) -> list[str]:
    return [f"{word['word']} ({word['why']})" for word in group["missing"]]


def _figure(key: str, value: float | None) -> str:
    if value is None:
        return EMPTY
    if key.startswith("norm"):
        return f"{value:.3f}"
    return f"{value:,.1f}" if key.endswith("mean") else f"{value:,.0f}"


def correlations_section(report: Report) -> Section:
    """Spearman's rho between count and norm."""
    found = report["norms"]["correlations"]
    by_kind = {
        (row["role"], row["centred"], row["tokens_of"], row["counted"]): row for row in found
    }
    given = [name for name in COUNTED if any(row["counted"] == name for row in found)]
    rows = []
    for (role, centred), matrix in MATRICES.items():
        for of, types in TYPES.items():
            beside = [by_kind.get((role, centred, of, name)) for name in given]
            cells = [cell for row in beside if row for cell in (str(row["n"]), interval(row))]
            if cells:
                rows.append((matrix, types, *cells))
    header = ["Matrix", "Types"]
    for name in given:
        header += [f"n{COUNTED[name]}", f"ρ [95%]{COUNTED[name]}"]
    unseen = report["unseen"]
    notes = [
        "Spearman's ρ of a type's count and the norm of its row, with a bootstrap interval over "
        "types. Below 0, frequent types are nearer to the origin.",
        "All: the types that occur. Frequent: at least 20 times. Content words: of these, whole "
        "words of at least three letters that are no function words.",
        "Centred: less the mean row of the types that occur in the texts.",
    ]
    if "pretraining" in given:
        notes.append("Pretraining: counted in a sample of the text that the base was made with.")
    if unseen["tokens"]:
        notes.append(
            f"{unseen['tokens']:,} types of the tokenizer occur nowhere and enter nothing: their "
            f"norms ({unseen['norm_mean']:.3f} ± {unseen['norm_sd']:.3f}) may say how they were "
            "initialised, not what they mean, and alone can make a correlation."
        )
    return Section("Norm against frequency", tuple(header), tuple(rows), tuple(notes), names=2)


def interval(row: Mapping[str, Any]) -> str:
    """Rho and its interval; `-` where it was not measured."""
    if row["rho"] is None:
        return EMPTY
    return f"{row['rho']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
