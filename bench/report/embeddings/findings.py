"""What a study shows and does not show, in sentences that follow from its figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.report.embeddings.layers import by_input, mean_variation
from bench.report.embeddings.tokens import p_value

Report = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]

REJECTED = 0.1  # the p-value below which the authors of the fit reject a power law
TOLD_APART = 0.05  # likewise of the sign of a likelihood ratio
TYPES = {"all": "all types", "frequent": "types seen at least 20 times", "content": "content words"}
STATES = "states"  # of the last block, of which HypLoRA's paper says nothing
ORIGINS = {  # of norms, by their role
    "input": "the input embedding",
    "output": "the output embedding",
    STATES: "the last block's output",
}
CONTROLS = {"gaussian": "Gaussian vectors of the same lengths", "shuffled": "shuffled ones"}


def findings(report: Report, published: Mapping[str, Any]) -> Iterator[str]:
    """The sentences, in the order of the tables.

    Args:
        report: of the study.
        published: the paper's figures.
    """
    yield from _frequency(report)
    for role, name in ORIGINS.items():
        yield from _norms(report, role, name)
    yield from _groups(report["norms"]["groups"], "", "in the paper")
    behind = report["norms"].get("state_groups", ())  # a study of before has none
    yield from _groups(behind, " behind the last block", "they grow more specific")
    yield from _prompts(report)
    yield from _random_points(report, published["prompts"])
    yield from _hidden(report)
    yield from _layers(report)
    yield (
        "Not shown: that fine-tuning in a hyperbolic space helps. These are spaces of one "
        "checkpoint, prompt by prompt; what methods score stands in the tables of accuracy."
    )


def _frequency(report: Report) -> Iterator[str]:
    rows = [row for row in report["frequency"] if row["gamma"] is not None]
    if not rows:
        yield "Token frequency: too few different counts for a power law."
        return
    replicas = report["settings"]["power_replicas"]
    rejected = [
        f"{row['label']} (p {p_value(row['p'], replicas)})"
        for row in rows
        if row["p"] is not None and row["p"] < REJECTED
    ]
    kept = [row["label"] for row in rows if row["p"] is not None and row["p"] >= REJECTED]
    told = [f"rejected for {', '.join(rejected)}"] if rejected else []
    told += [f"not rejected for {', '.join(kept)}"] if kept else []
    for name in ("lognormal", "exponential"):
        told.append(f"beside the {name} {_counts(map(_nearer(name), rows), LIKELIHOOD)}")
    text = f"Token frequency follows a power law? Exponents {_extent([r['gamma'] for r in rows])}: "
    text += "; ".join(told) + "."
    if report["data"]["source"] == "synthetic":
        text += " The words of these problems are drawn by Zipf's law: it was put in, not found."
    yield text


def _nearer(name: str) -> Any:
    """Of a row's fit: 1 where the power law is nearer to the data, -1 where the other one is."""

    def sign(row: Mapping[str, Any]) -> int:
        other = row["against"][name]
        return 0 if other["p"] >= TOLD_APART else (1 if other["ratio"] > 0 else -1)

    return sign


def _norms(report: Report, role: str, name: str) -> Iterator[str]:
    rows = [
        row
        for row in report["norms"]["correlations"]
        if row["role"] == role and row["counted"] == "texts" and row["rho"] is not None
    ]
    if not rows:
        return
    signs = {-1 if row["high"] < 0 else 1 if row["low"] > 0 else 0 for row in rows}
    answer, of_the_paper = "it depends on the types and on the origin", role != STATES
    if signs == {-1}:
        answer = "yes, as the paper says" if of_the_paper else "yes"
    elif -1 not in signs:
        answer = "no, while the paper says so" if of_the_paper else "no"
    parts = []
    for centred, head in ((False, ""), (True, "less the mean embedding: ")):
        each = [
            f"{TYPES[row['tokens_of']]} ρ {row['rho']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
            for row in rows
            if row["centred"] == centred
        ]
        parts += [head + ", ".join(each)] if each else []
    yield (
        f"Frequent types nearer to the origin of {name}? {answer.capitalize()}: {'; '.join(parts)}."
    )


def _groups(every: Rows, name: str, expected: str) -> Iterator[str]:
    if not every:
        return
    groups = [group for group in every if group["words"]]
    words = sum(len(group["words"]) for group in groups)
    total = words + sum(len(group["missing"]) for group in every)
    share = f"{words} of their {total} words have a figure here"
    if len(groups) < 2:
        yield f"The paper's word groups{name}: {share}, too few to order them."
        return
    order = [group["group"] for group in sorted(groups, key=lambda group: group["norm_mean"])]
    paper = [group["group"] for group in groups]
    yield (
        f"The paper's word groups{name} by mean norm: {' < '.join(order)}, "
        f"{'as' if order == paper else 'not as'} {expected} ({' < '.join(paper)}); {share}."
    )


def _prompts(report: Report) -> Iterator[str]:
    rows = _papers_way(report["prompts"])
    if rows:
        yield f"Prompts like trees? {_beside(rows, 'embeddings')}"


def _random_points(report: Report, published: Mapping[str, Any]) -> Iterator[str]:
    """The paper has no controls; what random points give in so many dimensions stands for one."""
    printed = [v[0] for row in published["rows"] for k, v in row.items() if k != "base"]
    for space in report["spaces"]:
        if space["dimension"] == 4096:
            found = _mean(space["first"])
            where = "above" if found < min(printed) else "not all above"
            yield (
                f"For orientation: {space['points']} random points in 4,096 dimensions have "
                f"{found:.2f} from the first one; the paper's values, {_extent(printed)}, are "
                f"{where} that."
            )


def _hidden(report: Report) -> Iterator[str]:
    rows = _papers_way(report["hidden"])
    by_model: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["set"]] = row
    names = {row["model"]: row["method"] for row in rows}
    bases = [model for model, method in names.items() if method == "none"]
    if not bases:
        return
    base = by_model.pop(bases[0])
    yield f"Last hidden layer of the base like trees? {_beside(list(base.values()), 'states')}"
    if by_model:
        told = [f"{model} {_versus(found, base)}" for model, found in by_model.items()]
        yield (
            "Last hidden layer after fine-tuning, against the base over the same prompts: "
            f"{'; '.join(told)}. One run of each: what another seed does is not in these intervals."
        )
    loras = [found for model, found in by_model.items() if names[model] == "lora"]
    for model, found in by_model.items():
        if loras and str(names[model]).startswith("hyplora"):
            yield (
                f"{model} against LoRA: {_versus(found, loras[0])}; the paper has it lower in each "
                "of its sets."
            )


def _layers(report: Report) -> Iterator[str]:
    if report["layers"]:
        groups = by_input(report["layers"][0]["layers"])
        variation = {names: mean_variation(layers) for names, layers in groups.items()}
        most, least = (of(variation, key=lambda n: variation[n]) for of in (max, min))
        yield (
            f"Norms vary most into {most} (coefficient of variation {variation[most]:.2f}) and "
            f"least into {least} ({variation[least]:.2f}): the less they do, the more HypLoRA is "
            "LoRA with another alpha."
        )


DELTA = {-1: "lower in", 1: "higher in", 0: "not told apart in"}
LIKELIHOOD = {1: "nearer to the data in", -1: "further from them in", 0: "not told apart in"}


def _versus(found: Mapping[str, Mapping[str, Any]], other: Mapping[str, Mapping[str, Any]]) -> str:
    shared = [key for key in found if key in other]
    return _counts((differs(found[key]["states"], other[key]["states"]) for key in shared), DELTA)


def _beside(rows: Rows, own: str) -> str:
    """How values stand to their controls, over sets, and what follows."""
    signs = {c: [differs(row[own], row[c]) for row in rows] for c in CONTROLS}
    parts = [
        f"{name} {_extent([_mean(row[control]) for row in rows])}, beside which it is "
        f"{_counts(signs[control], DELTA)}"
        for control, name in CONTROLS.items()
    ]
    lower = {control for control in CONTROLS if set(signs[control]) == {-1}}
    if lower == set(CONTROLS):
        verdict = "So it is more tree-like than lengths and vectors alone make it."
    elif lower == {"shuffled"}:
        verdict = (
            "So which token has which vector makes it more tree-like than chance, and still no "
            "more so than random points."
        )
    else:
        verdict = "So its size is no evidence of a tree: points without one have the like."
    values = _extent([_mean(row[own]) for row in rows])
    return f"Relative delta {values} from the first token; {'; '.join(parts)}. {verdict}"


def _papers_way(rows: Rows) -> list[Mapping[str, Any]]:
    return [r for r in rows if (r["metric"], r["base_point"]) == ("euclidean", "first")]


def _counts(signs: Any, words: Mapping[int, str]) -> str:
    """`lower in 3, not told apart in 1 of 4`."""
    signs = list(signs)
    parts = [f"{text} {signs.count(sign)}" for sign, text in words.items() if sign in signs]
    return f"{', '.join(parts)} of {len(signs)}"


def differs(values: Sequence[float], others: Sequence[float]) -> int:
    """The sign of the mean difference of pairs where its 95% interval leaves 0 out, else 0."""
    differences = [a - b for a, b in zip(values, others, strict=True)]
    n, mean = len(differences), _mean(differences)
    if n < 2:
        return 0
    error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    return 0 if abs(mean) <= 1.96 * error else (1 if mean > 0 else -1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _extent(values: Sequence[float]) -> str:
    """`0.20 to 0.22`."""
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"
