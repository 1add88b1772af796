"""What a study shows, in sentences that follow from its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from scipy.stats import ttest_rel

from bench.report.comparison import holm
from bench.report.embeddings.layers import by_input, mean_variation
from bench.report.embeddings.tokens import bounded

Study = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]
# What is compared, and on which set.
Key = tuple[str, str]
Pair = tuple[Sequence[float], Sequence[float]]

REJECTED = 0.1  # p-value below which the authors of the fit reject a power law
SIGNIFICANT = 0.05  # by Holm's correction over a table
TYPES = {"all": "all types", "frequent": "types seen at least 20 times", "content": "content words"}
STATES = "states"  # of the last block, about which HypLoRA's paper says nothing
ORIGINS = {
    "input": "the input embedding",
    "output": "the output embedding",
    STATES: "the last block's output",
}
CONTROLS = {"gaussian": "Gaussian vectors of the same lengths", "shuffled": "shuffled ones"}
DELTA = {-1: "lower in", 1: "higher in", 0: "n.s. in"}
LIKELIHOOD = {1: "better in", -1: "worse in", 0: "n.s. in"}


def findings(study: Study, published: Mapping[str, Any]) -> Iterator[str]:
    """The sentences on a study, next to the paper's figures, in the order of the tables."""
    yield _frequency(study)
    for role, name in ORIGINS.items():
        yield from _norms(study["norms"]["correlations"], role, name)
    yield from _groups(study["norms"]["groups"], "", "in the paper")
    behind = study["norms"]["state_groups"]
    yield from _groups(behind, " after the last block", "by increasing specificity")
    if rows := _as_published(study["prompts"]):
        pairs = _control_pairs(rows, "embeddings")
        shown = _vs_controls(rows, "embeddings", signs_of(pairs))
        yield f"Prompts: {shown} {_family(len(pairs))}"
    # The paper has no controls; random points in as many dimensions take their place.
    printed = [v[0] for row in published["prompts"]["rows"] for k, v in row.items() if k != "base"]
    for space in study["spaces"]:
        if space["dimension"] == 4096:
            found = fmean(space["first"])
            yield (
                f"For comparison: {space['points']} random points in 4,096 dimensions have a "
                f"relative delta of {found:.2f} from the first one; the paper's values, "
                f"{_extent(printed)}, are {'above' if found < min(printed) else 'not all above'} "
                "that."
            )
    yield from _hidden(_as_published(study["hidden"]))
    if study["layers"]:
        groups = by_input(study["layers"][0]["layers"])
        variation = {names: mean_variation(layers) for names, layers in groups.items()}
        most, least = (of(variation, key=lambda n: variation[n]) for of in (max, min))
        yield (
            f"Norms vary most in the input of {most} (coefficient of variation "
            f"{variation[most]:.2f}) and least in that of {least} ({variation[least]:.2f}): the "
            "less they vary, the more HypLoRA is LoRA with another alpha."
        )
    yield (
        "Not shown: that fine-tuning in a hyperbolic space helps. These are measurements of one "
        "checkpoint; the tables of accuracy compare methods."
    )


def _frequency(study: Study) -> str:
    rows = [row for row in study["frequency"] if row["gamma"] is not None]
    if not rows:
        return "Token frequency: too few different counts for a power law."
    kept, rejected = [], []
    for row in rows:
        p = bounded(row["p"], study["settings"]["power_replicas"])
        if row["p"] is not None and row["p"] < REJECTED:
            rejected.append(f"{row['label']} (p {p if isinstance(p, str) else format(p, '.2f')})")
        elif row["p"] is not None:
            kept.append(row["label"])
    parts = [f"rejected for {', '.join(rejected)}"] if rejected else []
    parts += [f"not rejected for {', '.join(kept)}"] if kept else []
    names = ("lognormal", "exponential")
    ratios = [(name, row["against"][name]["ratio"]) for name in names for row in rows]
    p_values = holm([row["against"][name]["p"] for name in names for row in rows])
    for name in names:
        signs = (
            0 if p >= SIGNIFICANT else 1 if ratio > 0 else -1
            for (other, ratio), p in zip(ratios, p_values, strict=True)
            if other == name
        )
        parts.append(f"vs. {name}: {_counts(signs, LIKELIHOOD)}")
    gammas = _extent([row["gamma"] for row in rows])
    text = f"Power law of token frequency: exponents {gammas}; {'; '.join(parts)}. "
    text += _family(len(ratios))
    if study["data"]["source"] == "synthetic":
        text += (
            " The words of these problems are sampled by Zipf's law, so this is by construction."
        )
    return text


def _norms(correlations: Rows, role: str, name: str) -> Iterator[str]:
    wanted = (role, "texts")
    rows = [r for r in correlations if (r["role"], r["counted"]) == wanted and r["rho"] is not None]
    if not rows:
        return
    signs = {-1 if row["high"] < 0 else 1 if row["low"] > 0 else 0 for row in rows}
    claimed = role != STATES
    answer = "It depends on the types and on the origin"
    if signs == {-1}:
        answer = "Yes" + ", as the paper says" * claimed
    elif signs == {0}:
        answer = "n.s."
    elif -1 not in signs:
        answer = "No" + ", unlike in the paper" * claimed
    parts = []
    for centred, head in ((False, ""), (True, "minus the mean embedding: ")):
        each = [
            f"{TYPES[row['tokens_of']]} ρ {row['rho']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
            for row in rows
            if row["centred"] == centred
        ]
        parts += [head + ", ".join(each)] if each else []
    yield f"Frequent types closer to the origin of {name}? {answer}: {'; '.join(parts)}."


def _groups(every: Rows, name: str, expected: str) -> Iterator[str]:
    if not every:
        return
    groups = [group for group in every if group["words"]]
    words, missing = (sum(len(group[key]) for group in every) for key in ("words", "missing"))
    share = f"{words} of their {words + missing} words are available"
    if len(groups) < 2:
        yield f"The paper's word groups{name}: {share}, too few to order them."
        return
    order = [group["group"] for group in sorted(groups, key=lambda group: group["norm_mean"])]
    paper = [group["group"] for group in groups]
    yield (
        f"The paper's word groups{name} by mean norm: {' < '.join(order)}, "
        f"{'as' if order == paper else 'not as'} {expected} ({' < '.join(paper)}); {share}."
    )


def _hidden(rows: Rows) -> Iterator[str]:
    by_model: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["set"]] = row
    methods = {row["model"]: row["method"] for row in rows}
    bases = [model for model, method in methods.items() if method == "none"]
    if not bases:
        return
    base = by_model.pop(bases[0])
    lora = next((found for model, found in by_model.items() if methods[model] == "lora"), {})
    ours = {m: found for m, found in by_model.items() if str(methods[m]).startswith("hyplora")}
    # All comparisons of the table are one family.
    pairs = _control_pairs(list(base.values()), "states")
    for name, others, models in (("base", base, by_model), ("LoRA", lora, ours)):
        pairs |= {
            (f"{model} vs. {name}", key): (found[key]["states"], others[key]["states"])
            for model, found in models.items()
            for key in found
            if key in others
        }
    signs = signs_of(pairs)
    yield f"Last hidden layer of the base: {_vs_controls(list(base.values()), 'states', signs)}"
    if by_model:
        parts = [f"{model} {_on_sets(f'{model} vs. base', signs)}" for model in by_model]
        yield (
            "Delta of the last hidden layer after fine-tuning vs. the base, same prompts: "
            f"{'; '.join(parts)}. One run each: variation between seeds is not included."
        )
    for model in ours if lora else ():
        yield (
            f"{model} vs. LoRA: {_on_sets(f'{model} vs. LoRA', signs)}; the paper reports lower "
            "values in all of its sets."
        )
    yield f"Last hidden layer: {_family(len(pairs))}"


def _on_sets(what: str, signs: Mapping[Key, int]) -> str:
    return _counts((sign for (found, _), sign in signs.items() if found == what), DELTA)


def _control_pairs(rows: Rows, own: str) -> dict[Key, Pair]:
    return {(control, row["set"]): (row[own], row[control]) for control in CONTROLS for row in rows}


def _vs_controls(rows: Rows, own: str, signs: Mapping[Key, int]) -> str:
    """How values compare with their controls over the sets, and what follows."""
    parts = [
        f"{name} {_extent([fmean(row[control]) for row in rows])} (it is "
        f"{_on_sets(control, signs)})"
        for control, name in CONTROLS.items()
    ]
    lower = {
        control
        for control in CONTROLS
        if {sign for (found, _), sign in signs.items() if found == control} == {-1}
    }
    verdict = "Its size is no evidence of a tree: points without one have similar values."
    if lower == set(CONTROLS):
        verdict = "It is more tree-like than lengths and vectors alone make it."
    elif lower == {"shuffled"}:
        verdict = (
            "Which token has which vector makes it more tree-like than chance, but not more than "
            "random points."
        )
    values = _extent([fmean(row[own]) for row in rows])
    return f"relative delta {values} from the first token; {'; '.join(parts)}. {verdict}"


def _as_published(rows: Rows) -> Rows:
    return [r for r in rows if (r["metric"], r["base_point"]) == ("euclidean", "first")]


def _counts(signs: Iterable[int], words: Mapping[int, str]) -> str:
    """`lower in 3, n.s. in 1 of 4`."""
    signs = list(signs)
    parts = [f"{text} {signs.count(sign)}" for sign, text in words.items() if sign in signs]
    return f"{', '.join(parts)} of {len(signs)}"


def signs_of(pairs: Mapping[Key, Pair]) -> dict[Key, int]:
    """The sign of each mean paired difference that is significant in its family, else 0.

    The paired t-test over prompts, with Holm's correction over all the pairs.
    """
    means, p_values = [], []
    for values, others in pairs.values():
        same = len(values) < 2 or list(values) == list(others)
        means.append(fmean(values) - fmean(others))
        p_values.append(1.0 if same else float(ttest_rel(values, others).pvalue))
    corrected = holm(p_values)
    return {
        key: 0 if p > SIGNIFICANT else 1 if mean > 0 else -1
        for key, mean, p in zip(pairs, means, corrected, strict=True)
    }


def _family(size: int) -> str:
    return f"n.s.: p above 0.05 by Holm's correction over the {size} comparisons of the table."


def _extent(values: Sequence[float]) -> str:
    """`0.20 to 0.22`."""
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"
